"""KernelSHAP: Shapley values as a weighted least-squares fit with exact constraints."""

from __future__ import annotations

import numpy as np
import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.kernel import drawn, every
from reluxfast.coalitions.masks import values_of
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import positive, whole

# As shap spends them: this many, and two for each player.
_USUAL = 2048
# Below this many coalitions per player the regression is unstable (measured: about 4).
_LEAST_PER_PLAYER = 4


def kernel_shap(request: GameRequest, n_evaluations: int | None = None, seed: int = 0) -> Estimate:
    """KernelSHAP (Lundberg and Lee 2017, arXiv 1705.07874), ∅ and N imposed exactly, coalitions drawn in pairs.

    Args:
        n_evaluations: evaluations of f per row at most; default 2n + 2048 coalitions, for each background row. Where
            they suffice for all 2ⁿ coalitions, values are exact Shapley values.
        seed: of the draw, which all rows share.

    Returns:
        values that sum to output - base_value; no standard error (`shapley` has one).
    """
    positive("n_evaluations", n_evaluations)
    whole("seed", seed)
    n, backgrounds = request.players.count, len(request.background)
    budget = n_evaluations or (_USUAL + 2 * n) * backgrounds
    coalitions = budget // backgrounds
    least = min(_LEAST_PER_PLAYER * n, 2**n)
    if coalitions < least:
        rule = f"must be at least {least * backgrounds} for {n} players and {backgrounds} background row(s)"
        raise InvalidInput("n_evaluations", rule, n_evaluations)
    game = request.game(budget)
    masks = every(n) if n < 40 and 2**n <= coalitions else drawn(n, coalitions, seed)
    z = masks.present.astype(np.float64)
    empty, delta = (t.cpu().numpy()[:, None] for t in (game.base, game.full - game.base))
    weighted = masks.weights[:, None] * z
    # Single loops in a fixed order, whatever the number of threads.
    gram = np.einsum("mi,mj->ij", weighted, z)
    right = np.einsum("mi,rmk->irk", weighted, values_of(game, masks.present).cpu().numpy() - empty)
    solved = np.linalg.solve(gram, np.concatenate([right.reshape(n, -1), np.ones((n, 1))], 1))
    free, one = solved[:, :-1].reshape(right.shape), solved[:, -1]
    excess = (free.sum(0) - delta[:, 0]) / one.sum()
    values = torch.from_numpy((free - one[:, None, None] * excess).transpose(1, 0, 2))
    spent = torch.full_like(game.numbers, len(z) * backgrounds + 1)
    return Estimate(values.to(game.x.device), None, spent, {"coalitions": len(z) + 2})
