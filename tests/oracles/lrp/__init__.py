"""Layer-wise relevance propagation by its formulas: float64, one row at a time, every map as its explicit matrix.

    explanation = explain(model, (x,), composite("epsilon_plus_flat"), target=1)

records the elementary operations of a forward pass (`record`), writes each affine one as a matrix (`node`), and walks
back with the rules of methods.md 3.2 (`rules`) as composites choose them (`composites`).
"""

from tests.oracles.lrp.composites import COMPOSITES, Composite, composite, each
from tests.oracles.lrp.explain import (
    Explanation,
    NodeRelevance,
    Recording,
    explain,
    explain_construct,
    record_construct,
    recording,
)
from tests.oracles.lrp.node import Node
from tests.oracles.lrp.record import Tape, record
from tests.oracles.lrp.walk import Refused

__all__ = [
    "COMPOSITES",
    "Composite",
    "Explanation",
    "Node",
    "NodeRelevance",
    "Recording",
    "Refused",
    "Tape",
    "composite",
    "each",
    "explain",
    "explain_construct",
    "record",
    "record_construct",
    "recording",
]
