"""Counting coalitions by size and sum."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
from numpy.typing import NDArray

from tests.oracles.coalitions import Array

_MOST = 66  # C(66, 33) < 2^63 <= C(67, 33)

Integers = NDArray[np.int64]


def coalition_counts(steps: Integers) -> tuple[Integers, Integers]:
    """How many coalitions without player i have s members whose steps sum to t.

    A dynamic programme over players counts the subsets of all n; taking player i out again inverts its step,
    `c_i[s, t] = c[s, t] - c_i[s-1, t - steps_i]`. Integers, so nothing is lost.

    Args:
        steps: `(n,)` integers, n <= 66.

    Returns:
        counts `(n, n, T)` by player, size and sum, and the T sums `(T,)`, ascending.
    """
    n = len(steps)
    if n > _MOST:
        raise ValueError(f"counts of more than {_MOST} players overflow 64 bits: take fewer, got {n}")
    low, high = int(steps[steps < 0].sum()), int(steps[steps > 0].sum())
    sums = np.arange(low, high + 1)
    everyone = np.zeros((n + 1, len(sums)), dtype=np.int64)
    everyone[0, -low] = 1
    for step in steps:  # what a roll carries round the end is 0: no subset's sum leaves low..high
        everyone[1:] += np.roll(everyone[:-1], int(step), axis=1)
    counts = np.zeros((n, n, len(sums)), dtype=np.int64)
    counts[:, 0, -low] = 1
    before = (np.arange(len(sums)) - steps[:, None]) % len(sums)
    for s in range(1, n):
        counts[:, s] = everyone[s] - np.take_along_axis(counts[:, s - 1], before, axis=1)
    return counts, sums


def shapley_of_sums(steps: Integers, value: Callable[[Integers], np.ndarray]) -> Array:
    """Shapley values `(n,)` of `v(S) = value(Σ_{i∈S} steps_i)`: `φ_i = Σ_s Σ_t w(s)·c_i[s, t]·[v(t + steps_i) - v(t)]`.

    Args:
        steps: `(n,)` integers, n <= 66.
        value: sums of any shape -> their values, numbers or booleans.
    """
    n = len(steps)
    counts, sums = coalition_counts(steps)
    weights = np.array([1 / (n * comb(n - 1, s)) for s in range(n)])  # s!(n-s-1)!/n!
    marginals = 1.0 * value(sums + steps[:, None]) - 1.0 * value(sums)
    return np.einsum("s,ist,it->i", weights, counts, marginals)
