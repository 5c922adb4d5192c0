"""Exact Shapley values: every coalition of every row."""

from __future__ import annotations

import math

import numpy as np
import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.game import Game
from reluxfast.errors import InvalidInput
from reluxfast.progress import Bars, progress_bar

# Players up to which nobody has to ask for it, and at all.
USUAL_PLAYERS, MOST_PLAYERS = 20, 26
# Coalitions at a time; fixed, so that sums are taken in one order.
_STRETCH = 1 << 12


def evaluations(n: int, backgrounds: int) -> int:
    """Outputs of the model for one row."""
    return backgrounds * max(2**n - 2, 0) + 1


def exact(game: Game, budget: int | None, bars: Bars = progress_bar) -> Estimate:
    """φ_i = Σ_S v(S)·(w(s - 1) if i ∈ S else -w(s)), w(s) = s!(n - s - 1)!/n!, in float64 (Shapley 1953).

    Raises:
        InvalidInput: there are too many players.
    """
    n, count = game.n, game.background.shape[0]
    cost = evaluations(n, count)
    if n > MOST_PLAYERS:
        rule = f"must not be 'exact' for more than {MOST_PLAYERS} players: {n} would cost {cost:.3g} evaluations a row"
        raise InvalidInput("estimator", rule, "'exact'", "Pass estimator='permutation', or group features as players")
    if n > USUAL_PLAYERS and (budget is None or budget < cost):
        rule = f"must be at least {cost} to ask for exact values of {n} players"
        raise InvalidInput("n_evaluations", rule, budget, "Or pass estimator='permutation'")
    weights = np.array([1 / (n * math.comb(n - 1, s)) for s in range(n)])
    values = np.zeros((game.rows, n, game.full.shape[1]))
    with bars(total=game.rows * 2**n, desc="shapley", unit="coalition") as bar:
        for row in range(game.rows):
            for start in range(0, 2**n, _STRETCH):
                listed = np.arange(start, min(start + _STRETCH, 2**n))
                present = (listed[:, None] >> np.arange(n)) & 1
                v = _values(game, row, present).cpu().numpy()
                # A single loop in a fixed order, whatever the number of threads.
                values[row] += np.einsum("sn,sk->nk", _coefficients(present, weights), v)
                bar.update(len(listed))
    found = torch.from_numpy(values).to(game.x.device)
    spent = torch.full((game.rows,), cost, dtype=torch.int64, device=game.x.device)
    return Estimate(found, None, spent)


def _coefficients(present: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(S, n): what v(S) counts for each player."""
    n = len(weights)
    size = present.sum(1)
    joined = weights[np.maximum(size - 1, 0)][:, None]
    missed = weights[np.minimum(size, n - 1)][:, None]
    return np.where(present == 1, joined, -missed)


def _values(game: Game, row: int, present: np.ndarray) -> torch.Tensor:
    """v(S) (S, K) of one row for coalitions (S, n) of 0 and 1, averaged over the background."""
    size, n = present.sum(1), present.shape[1]
    ranks = torch.from_numpy((1 - present).astype(np.int32)).to(game.x.device)
    inner = torch.from_numpy(np.flatnonzero((size > 0) & (size < n)))
    total = None
    for b in range(game.background.shape[0]):
        jobs = torch.stack([torch.full_like(inner, row), torch.full_like(inner, b), inner, torch.ones_like(inner)], 1)
        found = game.values(jobs, ranks)
        total = found if total is None else total + found
    v = game.full.new_empty(len(size), game.full.shape[1])
    v[inner] = total / game.background.shape[0]
    v[np.flatnonzero(size == 0)] = game.base[row]
    v[np.flatnonzero(size == n)] = game.full[row]
    return v
