"""KernelSHAP, LeverageSHAP and LIME: exact on all coalitions, equal to other solutions of the same least squares."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from tests.oracles.coalitions import (
    all_coalitions,
    exact_shapley,
    kernel_shap,
    kernel_shap_of_all,
    kernel_weights,
    leverage_estimate,
    leverage_probabilities,
    lime,
)


def _table(n, seed=0):
    return np.random.default_rng(seed).normal(size=(2**n, 2))


def _sample(n, pairs, seed=0):
    """Coalitions in pairs, without ∅ and N, with positive weights: `(coalitions, values, empty, full, weights)`."""
    table, rng = _table(n), np.random.default_rng(seed)
    index = rng.permutation(np.arange(1, 2 ** (n - 1)))[:pairs]
    index = np.concatenate([index, 2**n - 1 - index])
    return all_coalitions(n)[index], table[index], table[0], table[-1], rng.uniform(0.1, 3, size=len(index))


def _close(actual, expected, tolerance=1e-11):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_kernel_weights_by_hand():
    _close(kernel_weights(4)[1:4], [3 / 12, 3 / 24, 3 / 12])
    _close(kernel_weights(2)[1:2], [1 / 2])
    assert np.isnan(kernel_weights(4)[[0, 4]]).all()


@pytest.mark.parametrize("n", range(1, 11))
def test_all_coalitions_give_exact_shapley_values(n):
    table = _table(n)
    _close(kernel_shap_of_all(table), exact_shapley(table))
    inner = all_coalitions(n)[1:-1]
    omega = kernel_weights(n)[inner.sum(1)]
    _close(leverage_estimate(inner, table[1:-1], table[0], table[-1], omega), exact_shapley(table))


@pytest.mark.parametrize("n", [5, 8])
def test_sampled_kernel_shap_is_the_closed_formula(n):
    coalitions, values, empty, full, weights = _sample(n, 2 * n if n > 5 else 12)
    z = coalitions.astype(float)
    inverse = np.linalg.inv(z.T @ np.diag(weights) @ z)
    d, one = z.T @ np.diag(weights) @ (values - empty), np.ones((n, 1))
    excess = (one.T @ inverse @ d - (full - empty)) / (one.T @ inverse @ one)
    found = kernel_shap(coalitions, values, empty, full, weights)
    _close(found, inverse @ (d - one * excess))
    _close(found.sum(0), full - empty)
    assert np.abs(found - exact_shapley(_table(n))).max() > 1e-3


def test_weights_of_kernel_shap_are_multiplicities():
    coalitions, values, empty, full, _ = _sample(5, 8)
    times = np.arange(16) % 3 + 1
    repeated = kernel_shap(coalitions.repeat(times, 0), values.repeat(times, 0), empty, full, np.ones(times.sum()))
    _close(kernel_shap(coalitions, values, empty, full, times), repeated)


def test_sampled_leverage_solves_the_projected_normal_equations():
    n = 7
    coalitions, values, empty, full, omega = _sample(n, 20)
    z, p, delta = coalitions.astype(float), np.eye(n) - np.ones((n, n)) / n, full - empty
    target = values - empty - coalitions.sum(1)[:, None] * delta / n
    u = np.linalg.pinv(p @ z.T @ np.diag(omega) @ z @ p, rcond=1e-10) @ (p @ z.T @ np.diag(omega) @ target)
    found = leverage_estimate(coalitions, values, empty, full, omega)
    _close(found, u + delta / n)
    _close(found, kernel_shap(coalitions, values, empty, full, omega))  # one constrained least squares, two solutions


@pytest.mark.parametrize(
    ("m", "expected"), [(11, [3 / 4, 1 / 2, 3 / 4]), (5, [1 / 4, 1 / 6, 1 / 4]), (15, [1, 5 / 6, 1]), (16, [1, 1, 1])]
)
def test_leverage_probabilities_by_hand(m, expected):
    found = leverage_probabilities(4, m)
    assert np.isnan(found[[0, 4]]).all()
    _close(found[1:4], expected)


@pytest.mark.parametrize(("n", "m"), [(7, 60), (12, 100), (12, 2000), (60, 600)])
def test_leverage_probabilities_share_one_constant(n, m):
    counts = np.array([comb(n, s) for s in range(1, n)], dtype=float)
    p = leverage_probabilities(n, m)[1:n]
    two_c = (p * counts)[p < 1]
    _close(two_c, two_c[0])
    assert (counts[p == 1] <= two_c[0]).all() and (p <= 1).all()
    _close((p * counts).sum(), m - 2)


@pytest.mark.parametrize(("n", "m"), [(4, 2), (4, 17), (1, 2)])
def test_leverage_needs_inner_coalitions(n, m):
    with pytest.raises(ValueError, match="m must be"):
        leverage_probabilities(n, m)


def test_lime_by_hand():
    """One player, masks 0 and 1, values 0 and 2: centred, the slope is 1/(1/2 + λ)."""
    for ridge, slope in ((0.0, 2.0), (0.5, 1.0), (1.5, 0.5)):
        beta, alpha = lime([[0], [1]], np.array([[0.0], [2.0]]), [1, 1], ridge)
        _close(beta, [[slope]])
        _close(alpha, [1 - slope / 2])


@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_lime_is_the_augmented_least_squares(ridge):
    rng = np.random.default_rng(0)
    masks, values, weights = rng.integers(2, size=(40, 6)), rng.normal(size=(40, 2)), rng.uniform(0.1, 2, size=40)
    root = np.sqrt(weights)[:, None]
    rows = np.vstack([np.hstack([masks, np.ones((40, 1))]) * root, np.sqrt(ridge) * np.eye(7)[:6]])
    solution = np.linalg.lstsq(rows, np.vstack([values * root, np.zeros((6, 2))]), rcond=None)[0]
    beta, alpha = lime(masks, values, weights, ridge)
    _close(beta, solution[:6])
    _close(alpha, solution[6])


def test_lime_of_an_additive_game_and_of_a_constant_shift():
    z, rng = all_coalitions(5), np.random.default_rng(0)
    slope, shift, weights = rng.normal(size=(5, 2)), np.array([3.0, -1.0]), rng.uniform(size=32)
    beta, alpha = lime(z, z @ slope + shift, weights, 0.0)
    _close(beta, slope)
    _close(alpha, shift)
    shrunk, intercept = lime(z, z @ slope + shift, weights, 2.0)
    again, shifted = lime(z, z @ slope + 7.0 + shift, weights, 2.0)
    _close(again, shrunk)
    _close(shifted - intercept, [7.0, 7.0])
