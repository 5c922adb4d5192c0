"""Regressions on coalitions: KernelSHAP, paired LeverageSHAP and LIME, each as the least squares it is defined by."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import ArrayLike

from tests.oracles.coalitions.value import Array, all_coalitions


def kernel_weights(n: int) -> Array:
    """`μ(s) = (n-1)/(C(n,s)·s·(n-s))` for s = 1..n-1, `(n+1,)` by size; nan at 0 and n, which are imposed exactly."""
    weights = np.full(n + 1, np.nan)
    weights[1:n] = [(n - 1) / (comb(n, s) * s * (n - s)) for s in range(1, n)]
    return weights


def kernel_shap(coalitions: ArrayLike, values: Array, empty: Array, full: Array, weights: ArrayLike) -> Array:
    """`min_φ Σ_S ω_S (v(S) - v(∅) - Σ_{i∈S} φ_i)²` with `Σφ = v(N) - v(∅)` (Lundberg & Lee 2017), by Lagrange.

    Args:
        coalitions: `(M, n)`, neither empty nor full.
        values: `(M, K)`; `empty`, `full`: `(K,)`.
        weights: `(M,)`: μ for an enumeration, the multiplicity for a sample drawn by μ.

    Returns:
        `(n, K)`, the upper rows of the solution of `[2A 1; 1ᵀ 0][φ; λ] = [2d; Δ]`.
    """
    z, w = np.asarray(coalitions, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    n = z.shape[1]
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = 2 * z.T @ (w[:, None] * z)
    system[:n, n] = system[n, :n] = 1
    right = np.vstack([2 * z.T @ (w[:, None] * (values - empty)), full - empty])
    return np.linalg.solve(system, right)[:n]


def kernel_shap_of_all(table: Array) -> Array:
    """KernelSHAP on every coalition of a table `(2^n, K)` with weight μ: the exact Shapley values."""
    n = len(table).bit_length() - 1
    coalitions = all_coalitions(n)[1:-1]
    weights = kernel_weights(n)[coalitions.sum(1)]
    return kernel_shap(coalitions, table[1:-1], table[0], table[-1], weights)


def leverage_probabilities(n: int, m: int) -> Array:
    """`p_s = min(1, 2c/C(n,s))`, `Σ_{s=1}^{n-1} min(C(n,s), 2c) = m - 2`, `(n+1,)` by size; nan at 0 and n.

    Sizes are filled from the fewest coalitions up: each takes an equal share of what is left, or all it has.
    """
    if not 2 < m <= 2**n:
        raise ValueError(f"m must be 3..2^{n}, got {m}")
    probabilities, left = np.full(n + 1, np.nan), float(m - 2)
    by_count = sorted(range(1, n), key=lambda s: comb(n, s))
    for done, s in enumerate(by_count):
        taken = min(float(comb(n, s)), left / (len(by_count) - done))
        probabilities[s] = taken / comb(n, s)
        left -= taken
    return probabilities


def leverage_estimate(coalitions: ArrayLike, values: Array, empty: Array, full: Array, omega: ArrayLike) -> Array:
    """`φ = u + Δ/n`, u the least-norm minimum of `Σ_S ω_S (v(S) - v(∅) - sΔ/n - (PZᵀ)_S·u)²` (Musco & Witter 2025).

    Args:
        coalitions: `(M, n)`, neither empty nor full.
        values: `(M, K)`; `empty`, `full`: `(K,)`.
        omega: `(M,)`, `μ(s)/p_s`.

    Returns:
        `(n, K)`, by least squares on rows scaled by `√ω`.
    """
    z, root = np.asarray(coalitions, dtype=np.float64), np.sqrt(np.asarray(omega, dtype=np.float64))[:, None]
    n, delta = z.shape[1], full - empty
    projection = np.eye(n) - 1 / n
    right = values - empty - z.sum(1, keepdims=True) * delta / n
    u = np.linalg.lstsq(root * (z @ projection), root * right, rcond=None)[0]
    return u + delta / n


def lime(masks: ArrayLike, values: Array, weights: ArrayLike, ridge: float) -> tuple[Array, Array]:
    """`min Σ_S w_S (v(S) - α - Σ_{i∈S} β_i)² + λ Σ_i β_i²`: ridge whose intercept is free (Ribeiro et al. 2016).

    Args:
        masks: `(M, n)`; values: `(M, K)`; weights: `(M,)`; ridge: λ.

    Returns:
        β `(n, K)` and α `(K,)`, by the normal equations of the masks beside a column of ones.
    """
    z, w = np.asarray(masks, dtype=np.float64), np.asarray(weights, dtype=np.float64)[:, None]
    columns = np.hstack([np.ones((len(z), 1)), z])
    penalty = np.diag([0.0] + [ridge] * z.shape[1])
    solution = np.linalg.solve(columns.T @ (w * columns) + penalty, columns.T @ (w * values))
    return solution[1:], solution[0]
