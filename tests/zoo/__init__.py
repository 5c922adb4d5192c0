"""A zoo of small models: `CONSTRUCTS` are explained, `REFUSED` are refused."""

from tests.zoo import (  # noqa: F401  (importing them fills the registry)
    activations,
    attention,
    batchnorm,
    convolutions,
    digits,
    families,
    inplace,
    inputs,
    pooling,
    residual,
    reuse,
    shapes,
    spellings,
)
from tests.zoo.kit import FUNCTIONAL, INPLACE_MODULES, MODULES, SPELLINGS, Kit, spelled
from tests.zoo.refused import REFUSED, Refused
from tests.zoo.registry import CONSTRUCTS, Construct

__all__ = [
    "CONSTRUCTS",
    "Construct",
    "FUNCTIONAL",
    "INPLACE_MODULES",
    "Kit",
    "MODULES",
    "REFUSED",
    "Refused",
    "SPELLINGS",
    "spelled",
]
