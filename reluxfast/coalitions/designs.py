"""Which orders of the players are walked, and with which background rows."""

from __future__ import annotations

import math

import numpy as np
import torch

from reluxfast.coalitions.counter import BACKGROUNDS, NORMALS, PERMUTATIONS, permutations, uniforms

DESIGNS = ("antithetic", "orthogonal", "plain")


def orders(design: str, seed: int, rows: torch.Tensor, units: range, n: int) -> torch.Tensor:
    """Orders of the players, int32 (R, U, n).

    Args:
        design: "antithetic" or "plain": independent orders; "orthogonal": blocks of n - 1 orders whose scores are
            orthogonal (Mitchell et al. 2022, JMLR 23(43)).
        seed, rows: see `ops.draw_orders`.
        units: consecutive numbers of pairs (of orders, if plain).
        n: number of players.
    """
    if design != "orthogonal" or n < 3:
        return permutations(seed, PERMUTATIONS, rows, units, n)
    size = n - 1
    first, last = units.start // size, -(-units.stop // size)
    whole = torch.arange(first * size, last * size, device=rows.device)
    scores = _orthogonal(_normals(seed, rows, whole, n).cpu().numpy().reshape(len(rows), last - first, size, n))
    sorted_scores = np.argsort(scores, -1, kind="stable").astype(np.int32)
    listed = torch.from_numpy(sorted_scores).flatten(1, 2).to(rows.device)
    return listed[:, units.start - first * size : units.stop - first * size]


def background_rows(seed: int, rows: torch.Tensor, units: range, count: int) -> torch.Tensor:
    """Background row of each unit, int32 (R, U): a random order of all rows, walked round and round."""
    if count == 1:
        return torch.zeros(len(rows), len(units), dtype=torch.int32, device=rows.device)
    order = permutations(seed, BACKGROUNDS, rows, range(1), count)[:, 0]
    return order[:, torch.arange(units.start, units.stop, device=rows.device) % count]


def _normals(seed: int, rows: torch.Tensor, units: torch.Tensor, n: int) -> torch.Tensor:
    """Standard normal draws (R, U, n) (Box and Muller 1958)."""
    u, v = uniforms(seed, NORMALS, rows, units, 2 * n).chunk(2, -1)
    return (-2 * u.log()).sqrt() * (2 * math.pi * v).cos()


def _orthogonal(vectors: np.ndarray) -> np.ndarray:
    """Orthonormal vectors (..., n - 1, n) of the hyperplane of zero sums, by Gram and Schmidt, twice for accuracy."""
    found = vectors - vectors.mean(-1, keepdims=True)
    for i in range(found.shape[-2]):
        one = found[..., i, :]
        for _ in range(2):
            for j in range(i):
                other = found[..., j, :]
                one = one - (one * other).sum(-1, keepdims=True) * other
            one = one - one.mean(-1, keepdims=True)
        found[..., i, :] = one / np.sqrt((one * one).sum(-1, keepdims=True))
    return found
