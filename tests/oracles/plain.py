"""The gradient family on explicit matrices: small nets as a list of layers, each with its Jacobian, in numpy float64.

A layer is a function `a -> (output, matrix)`, where `matrix` is the Jacobian for linear maps and pools, and a function
`(z) -> mask` for ReLUs. One row is explained at a time, flattened; the reverse walk is a product of transposes. This
is slow on purpose: nothing here knows autograd, and each piece is short enough to be checked against methods.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Affine:
    """y = M a + b."""

    matrix: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Relu:
    """y = max(a, 0), walked back by a rule."""


@dataclass(frozen=True)
class MaxPool:
    """y_k = max of a over windows[k]; all relevance goes to the first maximum."""

    windows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Residual:
    """y = a + body(a)."""

    body: tuple


Layer = Affine | Relu | MaxPool | Residual


def walk(layers: tuple[Layer, ...], x: np.ndarray, rule: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Output `(m,)` of the net at `x` `(d,)`, and the function signal at the output -> signal at the input."""
    steps: list[Callable[[np.ndarray], np.ndarray]] = []
    a = np.asarray(x, dtype=np.float64)
    for layer in layers:
        a, back = _step(layer, a, rule)
        steps.append(back)

    def reverse(signal: np.ndarray) -> np.ndarray:
        for back in reversed(steps):
            signal = back(signal)
        return signal

    return a, reverse


def _step(layer: Layer, a: np.ndarray, rule: str):
    if isinstance(layer, Affine):
        return layer.matrix @ a + layer.bias, lambda g: layer.matrix.T @ g
    if isinstance(layer, Relu):
        keep = {
            "gradient": lambda g: np.where(a > 0, g, 0.0),
            "guided_backprop": lambda g: np.where((a > 0) & (g > 0), g, 0.0),
            "deconvnet": lambda g: np.where(g > 0, g, 0.0),
        }[rule]
        return np.maximum(a, 0.0), keep
    if isinstance(layer, MaxPool):
        selection = np.zeros((len(layer.windows), len(a)))
        for k, window in enumerate(layer.windows):
            selection[k, window[int(np.argmax(a[list(window)]))]] = 1.0
        return selection @ a, lambda g: selection.T @ g
    inner, back = walk(layer.body, a, rule)
    return a + inner, lambda g: g + back(g)


def convolution(
    weight: np.ndarray, bias: np.ndarray, size: tuple[int, ...], stride: int = 1, padding: int = 0, groups: int = 1
) -> tuple[Affine, tuple[int, ...]]:
    """The matrix of a convolution by its definition, y[o, p] = b[o] + Σ_{i, k} w[o, i, k] x[i, p*stride-padding+k]."""
    c_out, c_in_group, *kernel = weight.shape
    out = tuple((s + 2 * padding - k) // stride + 1 for s, k in zip(size, kernel, strict=True))
    c_in = c_in_group * groups
    matrix = np.zeros((c_out, *out, c_in, *size))
    for o in range(c_out):
        first = (o // (c_out // groups)) * c_in_group
        for p, i, k in itertools.product(np.ndindex(*out), range(c_in_group), np.ndindex(*kernel)):
            q = tuple(a * stride - padding + b for a, b in zip(p, k, strict=True))
            if all(0 <= v < s for v, s in zip(q, size, strict=True)):
                matrix[(o, *p, first + i, *q)] += weight[(o, i, *k)]
    rows = c_out * int(np.prod(out))
    return Affine(matrix.reshape(rows, -1), np.repeat(bias, int(np.prod(out)))), out


def batch_norm(weight, bias, mean, var, eps: float, positions: int) -> Affine:
    """y = (a - mean) / sqrt(var + eps) * weight + bias, channel by channel."""
    scale = weight / np.sqrt(var + eps)
    return Affine(np.diag(np.repeat(scale, positions)), np.repeat(bias - mean * scale, positions))


def pool_windows(channels: int, size: tuple[int, ...], kernel: int, stride: int, padding: int = 0) -> tuple:
    """Flat indices of each window's valid elements, in row-major order."""
    out = tuple((s + 2 * padding - kernel) // stride + 1 for s in size)
    windows = []
    for c, p in itertools.product(range(channels), np.ndindex(*out)):
        window = []
        for k in np.ndindex(*([kernel] * len(size))):
            q = tuple(a * stride - padding + b for a, b in zip(p, k, strict=True))
            if all(0 <= v < s for v, s in zip(q, size, strict=True)):
                window.append(int(np.ravel_multi_index((c, *q), (channels, *size))))
        windows.append(tuple(window))
    return tuple(windows)


def average(windows: tuple[tuple[int, ...], ...], width: int, count: int | None = None) -> Affine:
    """Mean over each window; `count` is the divisor where padding counts."""
    matrix = np.zeros((len(windows), width))
    for k, window in enumerate(windows):
        matrix[k, list(window)] = 1.0 / (count or len(window))
    return Affine(matrix, np.zeros(len(windows)))
