"""LIME: a linear model of f around x, fitted to random coalitions."""

from __future__ import annotations

import math

import numpy as np
import torch

from reluxfast.coalitions.counter import MASKS
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.masks import generator, values_of
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import fraction, is_number, one_of, positive, whole

DISTANCES = ("euclidean", "cosine")


def lime(
    request: GameRequest,
    n_evaluations: int = 1000,
    distance: str = "euclidean",
    kernel_width: float | None = None,
    ridge: float = 1.0,
    seed: int = 0,
) -> Estimate:
    """LIME (Ribeiro et al. 2016, arXiv 1602.04938): ridge regression of f on which players are present.

    Coalitions z ~ Bernoulli(½) per player are weighted by exp(-D²/σ²), D being their distance from the full one.

    Args:
        n_evaluations: evaluations of f per row, for each background row.
        distance: "euclidean": the root of the number of absent players, usual for tables; "cosine": 1 - √(|z|/n),
            usual for images.
        kernel_width: σ; default 0.75 √n for euclidean, 0.25 for cosine.
        ridge: penalty λ on the squared coefficients; the intercept is free.
        seed: of the draw, which all rows share.

    Returns:
        values: the coefficients. They need not sum to output - base_value. options["intercept"] and options["r2"], the
        weighted share of variance explained, (N,) or (N, K).
    """
    positive("n_evaluations", n_evaluations, needed=True)
    one_of("distance", distance, DISTANCES)
    fraction("kernel_width", kernel_width)
    if not is_number(ridge) or not 0 <= ridge < math.inf:
        raise InvalidInput("ridge", "must be a finite number that is not negative", repr(ridge))
    whole("seed", seed)
    n, backgrounds = request.players.count, request.backgrounds
    game = request.game(n_evaluations * backgrounds)
    present = generator(seed, MASKS).random((n_evaluations, n)) < 0.5
    z, absent = present.astype(np.float64), n - present.sum(1)
    gap = np.sqrt(absent) if distance == "euclidean" else 1 - np.sqrt(1 - absent / n)
    width = kernel_width or (0.75 * math.sqrt(n) if distance == "euclidean" else 0.25)
    weights = np.exp(-((gap / width) ** 2))
    if not weights.sum() > 0:
        rule = f"must be larger: of {n_evaluations} coalitions of {n} players none has a weight above 0"
        raise InvalidInput("kernel_width", rule, width, "Leave it out")
    share = weights / weights.sum()
    v = values_of(game, present).cpu().numpy()
    middle, mean = share @ z, np.einsum("m,rmk->rk", share, v)
    weighted, apart = weights[:, None] * (z - middle), v - mean[:, None]
    gram = np.einsum("mi,mj->ij", weighted, z - middle) + ridge * np.eye(n)
    right = np.einsum("mi,rmk->irk", weighted, apart)
    try:
        solved = np.linalg.solve(gram, right.reshape(n, -1)).reshape(right.shape)
    except np.linalg.LinAlgError:
        rule = f"must be larger to fit {n} players without a ridge"
        raise InvalidInput("n_evaluations", rule, n_evaluations, "Or pass ridge=1.0") from None
    rest = apart - np.einsum("mi,irk->rmk", z - middle, solved)
    total = np.einsum("m,rmk->rk", share, apart**2)
    left = np.einsum("m,rmk->rk", share, rest**2)
    found = {
        "intercept": mean - np.einsum("i,irk->rk", middle, solved),
        "r2": 1 - left / np.where(total > 0, total, 1),
    }
    facts = {name: torch.from_numpy(fact).to(game.x.device) for name, fact in found.items()}
    values = torch.from_numpy(solved.transpose(1, 0, 2)).to(game.x.device)
    return Estimate(values, None, torch.full_like(game.numbers, n_evaluations * backgrounds + 1), facts)
