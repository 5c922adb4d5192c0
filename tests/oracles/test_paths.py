"""Quadratures, integrated gradients and SmoothGrad against golden values and exactness properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.oracles.paths import expected_gradients, integrated_gradients, nodes_and_weights, noise_scale, smooth_grad

QUADRATURES = ("midpoint", "trapezoid", "gauss_legendre", "right_riemann")


def _golden(x):
    """f = relu(relu(x1) + 2 relu(x2 - 1/2) - 3/4), methods.md section 5; its gradient row by row."""
    leaf = x[0].detach().clone().requires_grad_()
    f = torch.relu(torch.relu(leaf[:, 0]) + 2 * torch.relu(leaf[:, 1] - 0.5) - 0.75)
    return torch.autograd.grad(f.sum(), [leaf])


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_weights_sum_to_one_and_points_lie_in_the_unit_interval(quadrature):
    for n in (2, 5, 50):
        points, weights = nodes_and_weights(quadrature, n)
        assert len(points) == len(weights) == n
        assert weights.sum() == pytest.approx(1.0, abs=1e-14)
        assert (points >= 0).all() and (points <= 1).all() and (np.diff(points) > 0).all()


@pytest.mark.parametrize(
    ("quadrature", "points", "weights"),
    [
        ("midpoint", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("right_riemann", [0.25, 0.5, 0.75, 1.0], [0.25] * 4),
        ("trapezoid", [0.0, 1 / 3, 2 / 3, 1.0], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ],
)
def test_quadratures_by_hand(quadrature, points, weights):
    found = nodes_and_weights(quadrature, 4)
    np.testing.assert_allclose(found[0], points, rtol=1e-15)
    np.testing.assert_allclose(found[1], weights, rtol=1e-15)


def test_gauss_legendre_is_exact_for_polynomials_up_to_degree_2n_minus_1():
    points, weights = nodes_and_weights("gauss_legendre", 3)
    for degree in range(6):
        assert (weights * points**degree).sum() == pytest.approx(1 / (degree + 1), abs=1e-15)
    assert abs((weights * points**6).sum() - 1 / 7) > 1e-4


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_golden_integrated_gradients(quadrature):
    x, zero = torch.ones(1, 2), torch.zeros(1, 2)
    (values,) = integrated_gradients(_golden, (x,), (zero,), quadrature, 400)
    # Piecewise constant integrand: the error is at most one step per jump, 2 jumps of at most 2 in slope.
    assert values[0].tolist() == pytest.approx([0.41667, 0.83333], abs=4 / 400 + 5e-6)
    (g,) = _golden((x,))
    assert (x * g).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_linear_and_quadratic_functions(quadrature):
    x, base = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.5, 1.0]]).double()
    (linear,) = integrated_gradients(lambda at: (torch.full_like(at[0], 3.0),), (x,), (base,), quadrature, 7)
    np.testing.assert_allclose(linear, 3.0 * (x - base), rtol=1e-14)
    if quadrature != "right_riemann":  # exact for a linear integrand by symmetry
        (square,) = integrated_gradients(lambda at: (2.0 * at[0],), (x,), (base,), quadrature, 7)
        np.testing.assert_allclose(square, x * x - base * base, rtol=1e-13)


def test_expected_gradients_by_hand():
    x, background = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0], [-1.0, 0.0]]).double()
    (found,) = expected_gradients(lambda at: (2.0 * at[0],), (x,), (background,), 3)
    np.testing.assert_allclose(found, [[1 - (0.25 + 1) / 2, 4 - (1 + 0) / 2]], rtol=1e-14)


def test_smooth_grad_by_hand():
    x = (torch.tensor([[1.0, 2.0]]),)
    noise = [(torch.tensor([[0.5, 0.0]]),), (torch.tensor([[-0.5, 1.0]]),)]
    square = lambda at: (at[0] ** 2,)  # noqa: E731
    g = torch.tensor([[[2.25, 4.0]], [[0.25, 9.0]]]).double()
    for reduce, expected in {
        "mean": g.mean(0),
        "square": (g**2).mean(0),
        "variance": torch.tensor([[1.0, 6.25]]),
    }.items():
        (values,), (errors,) = smooth_grad(square, x, noise, reduce)
        np.testing.assert_allclose(values, expected, rtol=1e-14)
        if reduce == "mean":
            np.testing.assert_allclose(errors, [[1.0, 2.5]], rtol=1e-14)


def test_noise_scale_is_per_row():
    x = torch.tensor([[[0.0, 4.0]], [[-1.0, 1.0]], [[3.0, 3.0]]])
    assert noise_scale(x, 0.25).tolist() == [[[1.0]], [[0.5]], [[0.0]]]
