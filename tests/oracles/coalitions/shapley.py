"""Shapley values of a table of coalition values, by both definitions, and the estimate from given permutations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations as orders
from math import factorial

import numpy as np
from numpy.typing import ArrayLike

from tests.oracles.coalitions.value import Array


def _players(table: Array) -> int:
    n = len(table).bit_length() - 1
    if len(table) != 2**n:
        raise ValueError(f"a table has 2^n rows, got {len(table)}")
    return n


def exact_shapley(table: Array) -> Array:
    """`φ_i = Σ_{S⊆N∖i} s!(n-s-1)!/n! · [v(S∪i) - v(S)]`, `(2^n, K)` -> `(n, K)` (Shapley 1953)."""
    n = _players(table)
    index = np.arange(len(table))
    size = np.array([int(s).bit_count() for s in index])
    weight = np.array([factorial(s) * factorial(n - s - 1) / factorial(n) for s in range(n)])
    values = np.zeros((n, table.shape[1]))
    for i in range(n):
        without = index[(index >> i) & 1 == 0]
        marginals = table[without | 1 << i] - table[without]
        values[i] = (weight[size[without], None] * marginals).sum(0)
    return values


def _marginals(table: Array, order: ArrayLike) -> Array:
    """What each player adds when the players enter in `order`, `(n, K)`, by player."""
    values, coalition = np.zeros((_players(table), table.shape[1])), 0
    for player in order:
        values[player] = table[coalition | 1 << player] - table[coalition]
        coalition |= 1 << player
    return values


def by_permutations(table: Array) -> Array:
    """The mean of a player's marginals over all n! orders of entry, `(2^n, K)` -> `(n, K)`; for n <= 7."""
    return np.mean([_marginals(table, order) for order in orders(range(_players(table)))], axis=0)


@dataclass(frozen=True, eq=False)
class Estimate:
    """`pairs` `(G, n, K)`: one statistical unit each; `values` `(n, K)`: their mean; `standard_error` `(n, K)`."""

    pairs: Array

    @property
    def values(self) -> Array:
        return self.pairs.mean(0)

    @property
    def standard_error(self) -> Array:
        """`sd / √G` with the divisor G-1; nan for G < 2."""
        g = len(self.pairs)
        if g < 2:
            return np.full(self.pairs.shape[1:], np.nan)
        return np.sqrt(((self.pairs - self.values) ** 2).sum(0) / (g - 1) / g)


def permutation_estimate(
    table: Array, permutations: ArrayLike, antithetic: bool = True, rows: ArrayLike | None = None
) -> Estimate:
    """Marginals along given permutations; an antithetic pair is `½[m(π) + m(rev π)]` (Mitchell et al. 2022).

    Args:
        table: `(2^n, K)`; with `rows`, `(B, 2^n, K)`, one table per background row.
        permutations: `(G, n)`, the players in their order of entry.
        antithetic: average each with its reverse; else a permutation is a unit by itself.
        rows: `(G,)`, the background row that each unit is played against.
    """
    units = []
    for g, order in enumerate(np.asarray(permutations)):
        game = table if rows is None else table[np.asarray(rows)[g]]
        unit = _marginals(game, order)
        units.append((unit + _marginals(game, order[::-1])) / 2 if antithetic else unit)
    return Estimate(np.array(units))


def spread_residual(values: Array, standard_error: Array, total: ArrayLike) -> Array:
    """Values `(n, K)` that sum to `total` `(K,)`: each output's residual is shared in proportion to SE².

    Where an output has no standard error (nan or all 0), evenly over its non-zero values.
    """
    result = np.array(values, dtype=np.float64)
    for k, residual in enumerate(np.asarray(total) - result.sum(0)):
        variance = np.nan_to_num(standard_error[:, k]) ** 2
        share = variance if variance.any() else (result[:, k] != 0).astype(np.float64)
        if share.any():
            result[:, k] += residual * share / share.sum()
    return result
