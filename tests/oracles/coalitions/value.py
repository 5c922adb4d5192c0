"""The game: players of an input, and the value of a coalition by evaluating the masked input."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

Array = NDArray[np.float64]
Coalitions = NDArray[np.bool_]
Model = Callable[[Array], Array]  # (M, ...) -> (M, K)


def from_module(module: nn.Module) -> Model:
    """A float64 copy of a torch module in eval mode as `(M, ...)` -> `(M, K)`; an output `(M,)` becomes `(M, 1)`."""
    twin = copy.deepcopy(module).cpu().double().eval()

    def f(rows: Array) -> Array:
        with torch.no_grad():
            result = twin(torch.from_numpy(rows)).numpy()
        return result.reshape(len(rows), -1)

    return f


def player_labels(labels: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """Labels of any integers -> the same partition with 0..n-1 in the labels' order, and n, the number of players."""
    distinct, renumbered = np.unique(np.asarray(labels), return_inverse=True)
    return renumbered.reshape(np.shape(labels)), len(distinct)


def all_coalitions(n: int) -> Coalitions:
    """`(2^n, n)`: row `index` has player i present where bit i of `index` is set."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(bool)


def coalition_values(f: Model, x: ArrayLike, background: ArrayLike, labels: ArrayLike, coalitions: Coalitions) -> Array:
    """`v_b(S) = f(x_S, b_{N∖S})` for each background row by itself.

    Args:
        f: `(M, ...)` -> `(M, K)`.
        x: one row `(...)`.
        background: `(B, ...)`.
        labels: `(...)`, the player 0..n-1 of every element.
        coalitions: `(M, n)`.

    Returns:
        `(B, M, K)`.
    """
    x, labels = np.asarray(x, dtype=np.float64), np.asarray(labels)
    background = np.asarray(background, dtype=np.float64)
    if background.shape[1:] != x.shape or labels.shape != x.shape:
        raise ValueError(f"x {x.shape}, labels {labels.shape}, background {background.shape}: want x's, x's, (B, x's)")
    if not np.array_equal(np.unique(labels), np.arange(coalitions.shape[1])):
        raise ValueError(f"labels must be 0..{coalitions.shape[1] - 1}, each used, got {np.unique(labels)}")
    present = coalitions[:, labels]  # (M, ...)
    return np.stack([np.asarray(f(np.where(present, x, row)), dtype=np.float64) for row in background])


def value_tables(f: Model, x: ArrayLike, background: ArrayLike, labels: ArrayLike, n: int) -> Array:
    """All 2^n coalitions with each background row by itself, `(B, 2^n, K)`; see `coalition_values`."""
    return coalition_values(f, x, background, labels, all_coalitions(n))


def value_table(f: Model, x: ArrayLike, background: ArrayLike, labels: ArrayLike, n: int) -> Array:
    """`v(S) = mean_b f(x_S, b_{N∖S})` of all 2^n coalitions, `(2^n, K)`; bit i of an index is player i."""
    return value_tables(f, x, background, labels, n).mean(0)
