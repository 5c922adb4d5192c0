"""Integrated gradients, expected gradients and SmoothGrad from their formulas (methods.md, section 5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Gradient = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


def nodes_and_weights(quadrature: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n points in [0, 1] and weights that sum to 1.

    midpoint (k - 1/2)/n; right Riemann k/n; trapezoid (k - 1)/(n - 1), the ends with half weight; Gauss-Legendre.
    """
    k = np.arange(1, n + 1, dtype=np.float64)
    if quadrature == "midpoint":
        return (k - 0.5) / n, np.full(n, 1.0 / n)
    if quadrature == "right_riemann":
        return k / n, np.full(n, 1.0 / n)
    if quadrature == "trapezoid":
        weights = np.full(n, 1.0 / (n - 1))
        weights[[0, -1]] /= 2
        return (k - 1) / (n - 1), weights
    if quadrature == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(n)
        return (points + 1) / 2, weights / 2
    raise ValueError(f"unknown quadrature {quadrature!r}")


def integrated_gradients(
    gradient: Gradient, x: tuple[Tensor, ...], baseline: tuple[Tensor, ...], quadrature: str, n: int
) -> tuple[Tensor, ...]:
    """`(x - x') * Σ_k w_k ∇f(x' + t_k (x - x'))` (Sundararajan et al. 2017)."""
    x = tuple(v.double() for v in x)
    baseline = tuple(b.double().expand_as(v) for b, v in zip(baseline, x, strict=True))
    total = [torch.zeros_like(v) for v in x]
    for t, w in zip(*nodes_and_weights(quadrature, n), strict=True):
        at = tuple(b + float(t) * (v - b) for v, b in zip(x, baseline, strict=True))
        for s, g in zip(total, gradient(at), strict=True):
            s += float(w) * g
    return tuple((v - b) * s for v, b, s in zip(x, baseline, total, strict=True))


def expected_gradients(
    gradient: Gradient, x: tuple[Tensor, ...], background: tuple[Tensor, ...], n: int
) -> tuple[Tensor, ...]:
    """Mean over background rows b of integrated gradients from b (Erion et al. 2021), by a midpoint rule."""
    rows = range(len(background[0]))
    found = [integrated_gradients(gradient, x, tuple(b[k : k + 1] for b in background), "midpoint", n) for k in rows]
    return tuple(torch.stack(values).mean(0) for values in zip(*found, strict=True))


def noise_scale(x: Tensor, noise_level: float) -> Tensor:
    """σ of each row: `noise_level * (max x - min x)` over all axes but the batch, shaped for broadcasting."""
    flat = x.double().flatten(1)
    return (noise_level * (flat.amax(1) - flat.amin(1))).reshape(-1, *(1,) * (x.dim() - 1))


def smooth_grad(
    gradient: Gradient, x: tuple[Tensor, ...], noise: list[tuple[Tensor, ...]], reduce: str
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Reduced gradients at `x + noise_k` and their standard error `sd / √n`.

    mean: mean g (Smilkov et al. 2017); square: mean g²; variance: mean g² - (mean g)², divided by n (Adebayo 2018).
    """
    samples = [gradient(tuple(v.double() + e.double() for v, e in zip(x, sample, strict=True))) for sample in noise]
    values, errors = [], []
    for i in range(len(x)):
        g = torch.stack([s[i] for s in samples])
        mean, square = g.mean(0), (g * g).mean(0)
        values.append({"mean": mean, "square": square, "variance": square - mean * mean}[reduce])
        errors.append((g * g if reduce == "square" else g).std(0) / len(samples) ** 0.5)
    return tuple(values), tuple(errors)
