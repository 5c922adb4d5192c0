"""Shapley values by least squares over pairs of coalitions drawn by their leverage."""

from __future__ import annotations

import math

import numpy as np
import torch

from reluxfast.coalitions.counter import MASKS
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.masks import Masks, distinct, generator, values_of
from reluxfast.errors import InvalidInput

# Below this many evaluations per player the regression is unstable (measured: about 4).
LEAST_PER_PLAYER = 8


def leverage(game: Game, budget: int, seed: int) -> Estimate:
    """Paired LeverageSHAP (Musco and Witter 2025, arXiv 2410.01917) with efficiency imposed exactly.

    With Δ = v(N) - v(∅), P = I - 11ᵀ/n and the drawn coalitions as rows of Z: solve
    P Zᵀ ω Z P u = P Zᵀ ω (v - v(∅) - sΔ/n), φ = u + Δ/n. All rows share one draw and one solution. Exact where the
    budget holds every coalition. There is no standard error.

    Args:
        game: of one baseline or several (the value is then the mean over all of them).
        budget: outputs of the model for each row on average, those of x and of the baselines included.
        seed: of the draw, which all rows share.

    Raises:
        InvalidInput: the budget is too small to be stable.
    """
    n, backgrounds = game.n, game.backgrounds
    if n == 1:
        delta = game.full - game.base
        return Estimate(delta.unsqueeze(1), None, torch.ones_like(game.numbers), {"coalitions": 2})
    least = min(LEAST_PER_PLAYER * n, 2**n) * backgrounds
    if budget < least:
        rule = f"must be at least {least} for leverage with {n} players and {backgrounds} background row(s)"
        raise InvalidInput("n_evaluations", rule, budget)
    masks = drawn(n, budget // backgrounds, seed)
    z = masks.present.astype(np.float64)
    empty, delta = game.base.cpu().numpy()[:, None], (game.full - game.base).cpu().numpy()[:, None]
    target = values_of(game, masks.present).cpu().numpy() - empty - z.sum(1)[:, None] * delta / n
    centred = z - z.mean(1, keepdims=True)
    weighted = masks.weights[:, None] * centred
    # Single loops in a fixed order, whatever the number of threads.
    gram = np.einsum("mi,mj->ij", weighted, centred)
    right = np.einsum("mi,rmk->irk", weighted, target)
    # Only the hyperplane of zero sums is determined; the constant makes the rest regular without touching it.
    u = np.linalg.solve(gram + gram.trace() / n, right.reshape(n, -1)).reshape(right.shape)
    values = (u - u.mean(0)).transpose(1, 0, 2) + delta / n
    spent = torch.full_like(game.numbers, len(z) * backgrounds + 1)
    return Estimate(torch.from_numpy(values).to(game.x.device), None, spent, {"coalitions": len(z) + 2})


def drawn(n: int, coalitions: int, seed: int) -> Masks:
    """Pairs (S, N∖S), 1 ≤ |S| ≤ n - 1, each present with probability p_s = min(1, 2c/C(n, s)), weighted by μ(s)/p_s.

    c follows from Σ_{s=1}^{n-1} min(C(n, s), 2c) = coalitions - 2; μ(s) = (n - 1)/(C(n, s) s (n - s)).
    """
    counts = [math.comb(n, s) for s in range(n + 1)]
    twice_c = _level(counts[1:n], coalitions - 2)
    rng = generator(seed, MASKS)
    found, weights = [], []
    for s in range(1, n // 2 + 1):
        half = 2 * s == n
        pairs = counts[s] // 2 if half else counts[s]
        p = min(1.0, twice_c / counts[s])
        number = pairs if p == 1 else _binomial(rng, pairs, p)
        sets = distinct(rng, n, s, number, half)
        found += [sets, ~sets]
        weights.append(np.full(2 * number, (n - 1) / (counts[s] * s * (n - s)) / p))
    return Masks(np.concatenate(found), np.concatenate(weights))


def _level(counts: list[int], total: int) -> float:
    """2c with Σ min(count, 2c) = total, or as large as any count where that is too little."""
    below = 0
    ordered = sorted(counts)
    for i, count in enumerate(ordered):
        level = (total - below) / (len(ordered) - i)
        if level <= count:
            return level
        below += count
    return float(ordered[-1])


def _binomial(rng: np.random.Generator, trials: int, p: float) -> int:
    # Of more trials than an int64 holds hardly any succeeds: Poisson's limit is exact to far below one count.
    return int(rng.binomial(trials, p) if trials < 1 << 62 else rng.poisson(trials * p))
