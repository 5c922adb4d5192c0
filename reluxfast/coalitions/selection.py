"""Which players a regression over coalitions keeps; the others get 0."""

from __future__ import annotations

import numpy as np

from reluxfast.extras import need

CRITERIA = ("aic", "bic")


def kept(select: int | float | str, z: np.ndarray, weights: np.ndarray, gain: np.ndarray, delta: float) -> np.ndarray:
    """Players that a sparse regression of v(S) - v(∅) on which players are present keeps, in ascending order.

    A coalition S counts twice: as what its n_S players add to none of them, weighted by those that are absent, and as
    what the absent ones lack, weighted by n_S. That they sum to v(N) - v(∅) is so made part of the fit.

    Args:
        select: an int: that many players, in the order in which least-angle regression takes them up (Efron et al.
            2004); "aic" or "bic": as many as the criterion favours on the lasso's path; a float: those that the lasso
            of this penalty keeps.
        z: (m, n) 0 or 1, coalitions without ∅ and N.
        weights: (m,) of the coalitions.
        gain: (m,) v(S) - v(∅).
        delta: v(N) - v(∅).
    """
    n = z.shape[1]
    sizes, share = z.sum(1), weights / weights.sum()
    root = np.sqrt(np.concatenate([share * (n - sizes), share * sizes]))
    rows = root[:, None] * np.concatenate([z, z - 1])
    values = root * np.concatenate([gain, gain - delta])
    linear = need("sklearn.linear_model", "scikit-learn", "demo", "A choice of players")
    if isinstance(select, str):
        scale = rows.std(0)
        scale[scale == 0] = 1
        chosen = np.flatnonzero(linear.LassoLarsIC(criterion=select).fit(rows / scale, values).coef_)
    elif isinstance(select, (int, np.integer)):
        chosen = np.array(linear.lars_path(rows, values, max_iter=int(select))[1], dtype=np.int64)
    else:
        chosen = np.flatnonzero(linear.Lasso(alpha=float(select)).fit(rows, values).coef_)
    return np.sort(chosen)
