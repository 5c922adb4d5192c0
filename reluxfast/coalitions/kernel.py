"""Coalitions as KernelSHAP weights and draws them."""

from __future__ import annotations

import itertools
import math

import numpy as np

from reluxfast.coalitions.counter import MASKS
from reluxfast.coalitions.masks import Masks, generator


def every(n: int) -> Masks:
    """All coalitions but ∅ and N, weighted by μ(s) = (n - 1)/(C(n, s) s (n - s))."""
    listed = np.array(list(itertools.product((False, True), repeat=n)), dtype=bool)[1:-1].reshape(-1, n)
    weights = [math.nan, *((n - 1) / (math.comb(n, s) * s * (n - s)) for s in range(1, n))]
    return Masks(listed, np.array(weights)[listed.sum(1)]) if n > 1 else Masks(np.ones((1, 1), bool), np.ones(1))


def drawn(n: int, coalitions: int, seed: int) -> Masks:
    """Pairs of a coalition and its complement, sizes drawn ∝ 1/(s(n - s)); what was drawn twice counts twice."""
    rng = generator(seed, MASKS)
    sizes = np.arange(1, n)
    chances = 1 / (sizes * (n - sizes))
    chosen = rng.choice(sizes, (coalitions - 2) // 2, p=chances / chances.sum())
    present = rng.random((len(chosen), n)).argsort(1).argsort(1) < chosen[:, None]
    listed, counts = np.unique(np.concatenate([present, ~present]), axis=0, return_counts=True)
    return Masks(listed, counts.astype(np.float64))
