"""Exact Shapley values: every coalition of every row."""

from __future__ import annotations

import math

import numpy as np
import torch

from reluxfast.coalitions.cube import Cube
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.inert import inert
from reluxfast.errors import InvalidInput
from reluxfast.progress import Bars, progress_bar

# Players up to which nobody has to ask for it, and at all.
USUAL_PLAYERS, MOST_PLAYERS = 20, 26


def evaluations(n: int, backgrounds: int) -> int:
    """Outputs of the model for one row."""
    return backgrounds * max(2**n - 2, 0) + 1


def refuse_too_costly(n: int, backgrounds: int, budget: int | None) -> None:
    """Refuses more players than anybody should wait for, or than the budget is for.

    Raises:
        InvalidInput: see above; the message says what it would cost.
    """
    cost = evaluations(n, backgrounds)
    if n > MOST_PLAYERS:
        rule = f"must not be 'exact' for more than {MOST_PLAYERS} players: {n} would cost {cost:.3g} evaluations a row"
        raise InvalidInput("estimator", rule, "'exact'", "Pass estimator='permutation', or group features as players")
    if (n > USUAL_PLAYERS and budget is None) or (budget is not None and budget < cost):
        rule = f"must be at least {cost} to ask for exact values of {n} players"
        raise InvalidInput("n_evaluations", rule, budget, "Or pass estimator='permutation'")


def exact(game: Game, cube: Cube, bars: Bars = progress_bar) -> Estimate:
    """φ_i = Σ_S v(S)·(w(s - 1) if i ∈ S else -w(s)), w(s) = s!(n - s - 1)!/n!, in float64 (Shapley 1953)."""
    n = game.n
    sums = _Sums(game)
    coalitions, height, _ = cube.at_once()
    width = min(coalitions, 2**n)
    height = min(height, max(1, coalitions // width))
    with bars(total=game.rows * 2**n, desc="shapley", unit="coalition") as bar:
        for first in range(0, game.rows, height):
            some = range(first, min(first + height, game.rows))
            for start in range(0, 2**n, width):
                stretch = range(start, start + width)
                sums.add(some, stretch, _mean_over_background(game, cube, some, stretch))
                bar.update(len(some) * width)
    spent = torch.full((game.rows,), evaluations(n, game.backgrounds), dtype=torch.int64, device=game.x.device)
    values = torch.from_numpy(sums.values).to(game.x.device)
    still = inert(game, game.x, _backs(game, range(game.rows)), cube.dead)
    if still is not None:
        values.masked_fill_(still.all(1).unsqueeze(-1), 0)
    return Estimate(values, None, spent)


def _mean_over_background(game: Game, cube: Cube, rows: range, coalitions: range) -> np.ndarray:
    """v(S) (R, 2^k, K) float64."""
    total = None
    # Calls span background rows where one of them does not fill them.
    step = max(1, cube.at_once()[2] // (len(rows) * len(coalitions)))
    for backs in _backs(game, rows).split(step, 1):
        for found in cube.values(rows, backs, coalitions).unbind(1):
            total = found.to(torch.float64, copy=True) if total is None else total.add_(found)
    total /= game.backgrounds
    # Outputs at both ends are known, and the same in all that is said of a row.
    if coalitions.start == 0:
        total[:, 0] = game.base[rows.start : rows.stop]
    if coalitions.stop == 2**game.n:
        total[:, -1] = game.full[rows.start : rows.stop]
    return total.cpu().numpy()


def _backs(game: Game, rows: range) -> torch.Tensor:
    """(R, G) int64: the background rows that some rows meet."""
    numbers = torch.arange(rows.start, rows.stop, device=game.x.device)
    return game.met(numbers, torch.arange(game.backgrounds, device=numbers.device).expand(len(rows), -1))


class _Sums:
    """φ_i = Σ_{S∋i} (w(s - 1) + w(s))·v(S) - Σ_S w(s)·v(S), whose first sums share all but one of their additions.

    Attributes:
        values: (N, n, K) float64, once every coalition was added.
    """

    def __init__(self, game: Game):
        n = game.n
        self.values = np.zeros((game.rows, n, game.full.shape[1]))
        missed = np.array([1 / (n * math.comb(n - 1, s)) for s in range(n)] + [0.0])
        self._missed, self._gained = missed, missed + np.roll(missed, 1)

    def add(self, rows: range, coalitions: range, v: np.ndarray) -> None:
        """Adds v (R, 2^k, K) of coalitions, whose first k players vary."""
        values = self.values[rows.start : rows.stop]
        players = len(coalitions).bit_length() - 1
        fixed = [i for i in range(players, values.shape[1]) if coalitions.start >> i & 1]
        size = _sizes(players) + len(fixed)
        # Sums run over the last axis, so that their order does not depend on the number of outputs.
        v = np.ascontiguousarray(v.transpose(0, 2, 1))
        values -= (self._missed[size] * v).sum(-1)[:, None]
        gained = self._gained[size] * v
        for i in reversed(range(players)):
            without, joined = np.split(gained, 2, axis=-1)
            values[:, i] += joined.sum(-1)
            gained = without + joined
        values[:, fixed] += gained.transpose(0, 2, 1)


def _sizes(players: int) -> np.ndarray:
    """(2^players,) number of players in each coalition."""
    found = np.zeros(1, dtype=np.int64)
    for _ in range(players):
        found = np.concatenate([found, found + 1])
    return found
