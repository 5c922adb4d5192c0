"""Least squares over coalitions against the oracle's solutions over the same coalitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.coalitions import kernel, leverage
from reluxfast.coalitions.counter import MASKS
from reluxfast.coalitions.masks import distinct, generator
from tests.coalitions.support import close, network, rows, table
from tests.oracles import coalitions as oracle

INDEX = 1 << np.arange(8)


def values_at(each: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(m, K) of a table of 2^8 values."""
    return each[present.astype(np.int64) @ INDEX]


@pytest.fixture(params=[1, 3], ids=["one baseline", "background"])
def setting(request):
    x, background = rows(2, 8).double(), rows(request.param, 8, 2).double()
    model = network(8).double()
    return model, x, background, [table(model, row, background) for row in x]


def test_leverage(setting):
    model, x, background, each = setting
    budget = 100 * len(background)
    result = rx.shapley(model, x, background, estimator="leverage", n_evaluations=budget, seed=4)
    masks = leverage.drawn(8, 100, 4)
    for row in range(2):
        v, t = values_at(each[row], masks.present), each[row]
        close(result.values[row], oracle.leverage_estimate(masks.present, v, t[0], t[-1], masks.weights).T, 1e-10)
    close(result.values.sum(-1), result.output - result.base_value, 1e-12)
    assert result.n_evaluations == len(masks.present) * len(background) + 1 and result.standard_error is None
    assert result.options["coalitions"] == len(masks.present) + 2


def test_leverage_draws_as_it_should():
    n, m = 11, 300
    p = oracle.leverage_probabilities(n, m)
    drawn = [leverage.drawn(n, m, seed) for seed in range(300)]
    sizes = np.array([np.bincount(masks.present.sum(1), minlength=n + 1) for masks in drawn])
    for s in range(1, n):
        expected, spread = math.comb(n, s) * p[s], math.comb(n, s) * p[s] * (1 - p[s])
        # Coalitions come in pairs, so that the count at half the players would vary twice as much; n is odd.
        assert abs(sizes[:, s].mean() - expected) <= 4 * (spread / 300) ** 0.5 + 1e-9, s
    assert abs(sizes.sum(1).mean() - (m - 2)) < 4 * (m / 300) ** 0.5
    for masks in drawn[:20]:
        assert len(np.unique(masks.present, axis=0)) == len(masks.present)
        complements = {row.tobytes() for row in ~masks.present}
        assert complements == {row.tobytes() for row in masks.present}
        weights = oracle.kernel_weights(n)[masks.present.sum(1)] / p[masks.present.sum(1)]
        assert np.allclose(masks.weights, weights, rtol=1e-12)


@pytest.mark.parametrize("n", [5, 6])
def test_leverage_with_every_coalition_is_exact(n):
    x, model = rows(2, n).double(), network(n).double()
    expected = rx.shapley(model, x, estimator="exact").values
    found = rx.shapley(model, x, estimator="leverage", n_evaluations=2**n)
    close(found.values, expected, 1e-10)
    assert found.n_evaluations == 2**n - 1


def test_coalitions_of_large_games_differ():
    rng = generator(0, MASKS)
    for half in (False, True):
        drawn = distinct(rng, 60, 30, 500, half)
        assert drawn.shape == (500, 60) and (drawn.sum(1) == 30).all() and len(np.unique(drawn, axis=0)) == 500
        assert drawn[:, 0].all() == half
        share = drawn[:, 1].mean()
        assert abs(share - (29 / 59 if half else 0.5)) < 4 * 0.5 / 500**0.5
    assert leverage.drawn(200, 2000, 0).present.shape[1] == 200


def test_kernel_shap(setting):
    model, x, background, each = setting
    result = rx.kernel_shap(model, x, background, n_evaluations=100 * len(background), seed=4)
    masks = kernel.drawn(8, 100, 4)
    assert masks.weights.sum() == 98 and masks.weights.max() > 1
    for row in range(2):
        v, t = values_at(each[row], masks.present), each[row]
        close(result.values[row], oracle.kernel_shap(masks.present, v, t[0], t[-1], masks.weights).T, 1e-9)
    close(result.values.sum(-1), result.output - result.base_value, 1e-10)


def test_kernel_shap_of_every_coalition_is_exact(setting):
    model, x, background, each = setting
    result = rx.kernel_shap(model, x, background)
    close(result.values, np.stack([oracle.exact_shapley(t).T for t in each]), 1e-10)
    assert result.n_evaluations == len(background) * (2**8 - 2) + 1


def test_kernel_shap_draws_sizes_by_its_kernel():
    masks = kernel.drawn(9, 40002, 0)
    sizes = np.bincount(masks.present.sum(1), weights=masks.weights, minlength=10)[1:9] / 40000
    chances = 1 / (np.arange(1, 9) * np.arange(8, 0, -1))
    assert np.abs(sizes - chances / chances.sum()).max() < 4 * 0.5 / 20000**0.5


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_lime(setting, distance):
    model, x, background, each = setting
    result = rx.lime(model, x, background, n_evaluations=300, distance=distance, ridge=0.7, seed=2)
    present = generator(2, MASKS).random((300, 8)) < 0.5
    absent = 8 - present.sum(1)
    if distance == "euclidean":
        weights = np.exp(-absent / (0.75**2 * 8))
    else:
        weights = np.exp(-((1 - np.sqrt(1 - absent / 8)) ** 2) / 0.25**2)
    for row in range(2):
        slopes, intercept = oracle.lime(present, values_at(each[row], present), weights, 0.7)
        close(result.values[row], slopes.T, 1e-9)
        close(result.options["intercept"][row], intercept, 1e-9)
        fit = present @ slopes + intercept
        v = values_at(each[row], present)
        mean = (weights[:, None] * v).sum(0) / weights.sum()
        r2 = 1 - (weights[:, None] * (v - fit) ** 2).sum(0) / (weights[:, None] * (v - mean) ** 2).sum(0)
        close(result.options["r2"][row], r2, 1e-9)


def test_lime_of_a_linear_function():
    x = rows(2, 5).double()
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0]).double()
    result = rx.lime(lambda batch: batch @ weight, x, ridge=0.0, n_evaluations=200)
    close(result.values, x * weight, 1e-10)
    assert torch.allclose(result.options["r2"], torch.ones(2, 1).double())


def test_widths_and_ridges_matter():
    x, model = rows(1, 6).double(), network(6).double()
    plain = rx.lime(model, x).values
    for options in ({"kernel_width": 0.5}, {"ridge": 50.0}, {"distance": "cosine"}, {"seed": 1}):
        assert float((rx.lime(model, x, **options).values - plain).abs().max()) > 1e-4 * float(plain.abs().max())
    with pytest.raises(rx.InvalidInput, match="n_evaluations must be larger to fit 6 players without a ridge"):
        rx.lime(model, x, n_evaluations=3, ridge=0.0)


def test_budgets_too_small():
    x, model = rows(1, 8), network(8)
    with pytest.raises(rx.InvalidInput, match="n_evaluations must be at least 64 for leverage with 8 players and 1"):
        rx.shapley(model, x, estimator="leverage", n_evaluations=63)
    with pytest.raises(rx.InvalidInput, match="n_evaluations must be at least 64 for 8 players and 2 background"):
        rx.kernel_shap(model, x, rows(2, 8), n_evaluations=63)
