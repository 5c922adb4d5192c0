"""Games: Shapley values of the inputs of perceptrons and of the patches of images."""

from __future__ import annotations

from reluxfast.benchmarks.case import Case
from reluxfast.benchmarks.games import accuracy, exact, patches, sampled

CASES: dict[str, Case] = {**sampled.CASES, **exact.CASES, **patches.CASES, **accuracy.CASES}

__all__ = ["CASES"]
