"""Sets of coalitions that all rows share, drawn in pairs of a coalition and its complement."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch

from reluxfast.coalitions.game import Game

# Sizes with at most this many coalitions are drawn by number, others by drawing until all differ.
_LISTED = 1 << 16
_JOBS = 1 << 16


@dataclass(frozen=True)
class Masks:
    """Coalitions without ∅ and N.

    Attributes:
        present: (m, n) bool.
        weights: (m,) float64, what each counts in a regression.
    """

    present: np.ndarray
    weights: np.ndarray


def generator(seed: int, purpose: int) -> np.random.Generator:
    """Draws that all rows share, on the host, by a counter keyed by seed and purpose."""
    return np.random.Generator(np.random.Philox(key=[int(seed) % (1 << 64), purpose]))


def values_of(game: Game, present: np.ndarray) -> torch.Tensor:
    """v(S) (N, m, K) of coalitions (m, n) of bool, float64, averaged over the background rows that a row meets."""
    ranks = torch.from_numpy((~present).astype(np.int32)).to(game.x.device)
    device = game.x.device
    count = max(1, len(present))
    which = torch.arange(len(present), device=device)
    found = []
    for some in torch.arange(game.rows, device=device).split(max(1, _JOBS // count)):
        total = None
        # Calls span background rows where one of them does not fill them.
        for backs in torch.arange(game.backgrounds, device=device).split(max(1, _JOBS // (max(1, len(some)) * count))):
            back = game.met(some, backs.expand(len(some), -1)).t().unsqueeze(2)
            parts = torch.broadcast_tensors(some.view(1, -1, 1), back, which, torch.ones_like(which))
            v = game.values(torch.stack(parts, -1).flatten(0, 2), ranks)
            for of_one in v.view(*parts[0].shape, v.shape[1]):
                total = of_one if total is None else total + of_one
        found.append(total / game.backgrounds)
    return torch.cat(found)


def values_each(game: Game, rows: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """v(S) (M, K) of one coalition (M, n) of bool for each of the rows (M,), float64, averaged as `values_of`."""
    rows, present = rows.to(game.x.device), present.to(game.x.device)
    found = []
    for some, ranks in zip(rows.split(_JOBS), (~present).to(torch.int32).split(_JOBS), strict=True):
        which, total = torch.arange(len(some), device=some.device), None
        for b in range(game.backgrounds):
            back = game.met(some, torch.full_like(some, b).unsqueeze(1)).squeeze(1)
            v = game.values(torch.stack([some, back, which, torch.ones_like(some)], -1), ranks)
            total = v if total is None else total + v
        found.append(total / game.backgrounds)
    return torch.cat(found)


def distinct(rng: np.random.Generator, n: int, size: int, count: int, half: bool) -> np.ndarray:
    """`count` different coalitions (count, n) of `size` players, uniformly; `half`: only those with player 0."""
    free, chosen = (n - 1, size - 1) if half else (n, size)
    total = math.comb(free, chosen)
    if total <= _LISTED:
        numbers = np.sort(rng.choice(total, count, replace=False))
        listed = np.array(list(itertools.combinations(range(free), chosen)), dtype=np.int64).reshape(total, chosen)
        sets = listed[numbers]
    else:
        known: dict[bytes, np.ndarray] = {}
        while len(known) < count:
            for drawn in np.sort(rng.random((count - len(known), free)).argsort(1)[:, :chosen], 1):
                known.setdefault(drawn.tobytes(), drawn)
        sets = np.stack(list(known.values())[:count])
    present = np.zeros((count, n), dtype=bool)
    np.put_along_axis(present, sets + half, True, 1)
    if half:
        present[:, 0] = True
    return present
