"""Single perturbations: occlusion, RISE, feature ablation."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from tests.oracles.coalitions.value import Array, Model, coalition_values


def _windows(shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Starts: multiples of the stride, up to the first whose window reaches the axis's border, where it is cut."""
    axes = []
    for size, width, step in zip(shape, window, stride, strict=True):
        if not (1 <= width <= size and step >= 1 and (step <= width or width == size)):
            raise ValueError(f"want 1 <= window <= size, 1 <= stride <= window, got {window}, {stride} on {shape}")
        starts, start = [0], 0
        while start + width < size:
            start += step
            starts.append(start)
        axes.append([slice(start, min(start + width, size)) for start in starts])
    return list(product(*axes))


def occlusion(f: Model, x: ArrayLike, baseline: ArrayLike, window: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    """`φ_e` = mean over the windows that cover e of `f(x) - f(x, window := b)` (Zeiler & Fergus 2014).

    Args:
        f: `(M, ...)` -> `(M, K)`.
        x: one row `(...)`; baseline: of its shape, or a number.
        window, stride: one number per axis of the row.

    Returns:
        `(..., K)`.
    """
    x = np.asarray(x, dtype=np.float64)
    baseline = np.broadcast_to(np.asarray(baseline, dtype=np.float64), x.shape)
    whole = f(x[None])[0]
    total, covers = np.zeros(x.shape + whole.shape), np.zeros(x.shape)
    for place in _windows(x.shape, window, stride):
        occluded = x.copy()
        occluded[place] = baseline[place]
        total[place] += whole - f(occluded[None])[0]
        covers[place] += 1
    return total / covers[..., None]


def rise(values: Array, masks: ArrayLike, p: float) -> Array:
    """`1/(Mp) · Σ_k f(x⊙M_k)·M_k` (Petsiuk et al. 2018): values `(M, K)`, masks `(M, ...)` of mean p -> `(..., K)`."""
    masks = np.asarray(masks, dtype=np.float64)
    return np.tensordot(masks, values, axes=(0, 0)) / (len(masks) * p)


def feature_ablation(f: Model, x: ArrayLike, background: ArrayLike, labels: ArrayLike, n: int) -> Array:
    """`φ_i = f(x) - mean_b f(x, player i := b)`, `(n, K)`; arguments as of `value_table`."""
    coalitions = np.vstack([np.ones((1, n), dtype=bool), ~np.eye(n, dtype=bool)])
    values = coalition_values(f, x, background, labels, coalitions).mean(0)
    return values[0] - values[1:]
