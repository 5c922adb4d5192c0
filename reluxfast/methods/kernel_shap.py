"""KernelSHAP: Shapley values as a weighted least-squares fit with exact constraints."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.kernel import drawn, every
from reluxfast.coalitions.masks import values_of
from reluxfast.coalitions.request import GameRequest
from reluxfast.coalitions.selection import CRITERIA, kept
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import is_number, positive, whole

# As shap spends them: this many, and two for each player.
_USUAL = 2048
# Below this many coalitions per player the regression is unstable (measured: about 4).
_LEAST_PER_PLAYER = 4


def kernel_shap(
    request: GameRequest, n_evaluations: int | None = None, seed: int = 0, select: int | float | str | None = None
) -> Estimate:
    """KernelSHAP (Lundberg and Lee 2017, arXiv 1705.07874), ∅ and N imposed exactly, coalitions drawn in pairs.

    Args:
        n_evaluations: evaluations of f per row at most; default 2n + 2048 coalitions, for each background row. Where
            they suffice for all 2ⁿ coalitions, values are exact Shapley values.
        seed: of the draw, which all rows share.
        select: None: every player has a value. Otherwise (needs scikit-learn) a sparse regression chooses for each row
            and output which players have one, and the others get 0: an int: so many of them, in the order of
            least-angle regression; "aic", "bic": by that criterion on the lasso's path; a float above 0: by the lasso
            of that penalty. Values are then exact no more, however many coalitions there are.

    Returns:
        values that sum to output - base_value, if a player is left; no standard error (`shapley` has one).
    """
    positive("n_evaluations", n_evaluations)
    whole("seed", seed)
    _check(select)
    n, backgrounds = request.players.count, request.backgrounds
    budget = n_evaluations or (_USUAL + 2 * n) * backgrounds
    coalitions = budget // backgrounds
    least = min(_LEAST_PER_PLAYER * n, 2**n)
    if coalitions < least:
        rule = f"must be at least {least * backgrounds} for {n} players and {backgrounds} background row(s)"
        raise InvalidInput("n_evaluations", rule, n_evaluations)
    game = request.game(budget)
    masks = every(n) if n < 40 and 2**n <= coalitions else drawn(n, coalitions, seed)
    z = masks.present.astype(np.float64)
    empty, delta = (t.cpu().numpy() for t in (game.base, game.full - game.base))
    gain = values_of(game, masks.present).cpu().numpy() - empty[:, None]
    everyone = select is None or (isinstance(select, (int, np.integer)) and select >= n)
    values = (_fitted if everyone else partial(_chosen, select))(z, masks.weights, gain, delta)
    spent = torch.full_like(game.numbers, len(z) * backgrounds + 1)
    return Estimate(torch.from_numpy(values).to(game.x.device), None, spent, {"coalitions": len(z) + 2})


def _fitted(z: np.ndarray, weights: np.ndarray, gain: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Coefficients (R, n, K) of gains (R, m, K) on coalitions (m, n) that sum to delta (R, K)."""
    n = z.shape[1]
    weighted = weights[:, None] * z
    # Single loops in a fixed order, whatever the number of threads.
    gram = np.einsum("mi,mj->ij", weighted, z)
    right = np.einsum("mi,rmk->irk", weighted, gain)
    solved = np.linalg.solve(gram, np.concatenate([right.reshape(n, -1), np.ones((n, 1))], 1))
    free, one = solved[:, :-1].reshape(right.shape), solved[:, -1]
    excess = (free.sum(0) - delta) / one.sum()
    return (free - one[:, None, None] * excess).transpose(1, 0, 2)


def _chosen(
    select: int | float | str, z: np.ndarray, weights: np.ndarray, gain: np.ndarray, delta: np.ndarray
) -> np.ndarray:
    """As `_fitted`, to the players chosen for each row and output; 0 for the others."""
    values = np.zeros((len(gain), z.shape[1], gain.shape[2]))
    for r, k in np.ndindex(delta.shape):
        players = kept(select, z, weights, gain[r, :, k], delta[r, k])
        if len(players):
            fitted = _fitted(z[:, players], weights, gain[r : r + 1, :, k : k + 1], delta[r : r + 1, k : k + 1])
            values[r, players, k] = fitted[0, :, 0]
    return values


def _check(select: int | float | str | None) -> None:
    if select is None or (isinstance(select, str) and select in CRITERIA):
        return
    if not is_number(select) or not 0 < select < math.inf:
        rule = f"must be None, a number of players, a penalty above 0, or one of {', '.join(CRITERIA)}"
        raise InvalidInput("select", rule, repr(select))
