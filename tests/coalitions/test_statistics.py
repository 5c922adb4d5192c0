"""What is promised of sampled values: intervals that cover the truth, and designs that come closer at equal cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import reluxfast as rx
from tests.coalitions.support import network, rows
from tests.coalitions.tables import breast_cancer, products, trained


def coverage(design: str, backgrounds: int, d: int, pairs: int) -> float:
    """Share of values inside their 95 % interval (t, pairs - 1 degrees of freedom), 576 rows of 12 networks."""
    inside = []
    for seed in range(12):
        model, x = network(d, 1, seed).double(), rows(48, d, 1000 + seed).double()
        background = rows(backgrounds, d, 2000 + seed).double()
        exact = rx.shapley(model, x, background, estimator="exact", n_evaluations=1 << 20).values
        budget = 2 * (d - 1) * pairs + 1
        found = rx.shapley(
            model, x, background, estimator="permutation", design=design, n_evaluations=budget, seed=seed
        )
        assert bool((found.options["pairs"] == pairs).all())
        reach = stats.t.ppf(0.975, pairs - 1) * found.standard_error
        inside.append((found.values - exact).abs() <= reach)
    return float(torch.cat(inside).double().mean())


def test_intervals_of_antithetic_pairs_cover_as_often_as_they_say():
    assert 0.93 <= coverage("antithetic", 1, 10, 32) <= 0.97


@pytest.mark.parametrize(
    ("design", "backgrounds", "d", "pairs"),
    [("orthogonal", 1, 10, 36), ("antithetic", 8, 8, 32), ("orthogonal", 8, 8, 56)],
)
def test_intervals_of_stratified_designs_are_conservative(design, backgrounds, d, pairs):
    assert coverage(design, backgrounds, d, pairs) >= 0.93


@pytest.mark.parametrize(
    ("design", "backgrounds", "pairs", "bounds"),
    [
        ("antithetic", 1, 64, (0.9, 1.1)),
        ("orthogonal", 1, 448, (1.1, 1.35)),
        ("antithetic", 4, 64, (1.5, 1.85)),
        ("antithetic", 64, 64, (2.0, 2.6)),
    ],
)
def test_how_much_too_large_stated_errors_are(design, backgrounds, pairs, bounds):
    distances = []
    for seed in range(8):
        model, x, background = network(8, 1, seed), rows(24, 8, 100 + seed), rows(backgrounds, 8, 200 + seed)
        exact = rx.shapley(model, x, background, estimator="exact").values
        budget = 2 * 7 * pairs + 1
        found = rx.shapley(
            model, x, background, estimator="permutation", design=design, n_evaluations=budget, seed=seed
        )
        distances.append((found.values - exact) / found.standard_error)
    assert bounds[0] <= 1 / float(torch.cat(distances).std()) <= bounds[1]


def errors(model: nn.Module, x: Tensor, background: Tensor, expected: Tensor, seeds: int, **options) -> float:
    """Mean squared error of the values of class 1, over rows, players and seeds."""
    found = [rx.shapley(model, x, background, target=1, seed=seed, **options).values for seed in range(seeds)]
    return float((torch.stack(found) - expected).double().square().mean())


def reference(model: nn.Module, x: Tensor, background: Tensor, pairs: int) -> tuple[Tensor, float]:
    """Values of class 1 from many pairs of another seed, and their mean squared error, as they estimate it."""
    budget = 2 * (x.shape[1] - 1) * pairs + 1
    found = rx.shapley(model, x, background, target=1, estimator="permutation", n_evaluations=budget, seed=1 << 20)
    return found.values, float(found.standard_error.double().square().mean())


def test_cycled_backgrounds_come_closer_than_all_of_them():
    table, classes = breast_cancer()
    model, x, background = trained(table, classes, 32, 16, 2), table[:16], table[100:132]
    expected, blur = reference(model, x, background, 32 * 600)
    budget = {"estimator": "permutation", "n_evaluations": 2 * 29 * 32 * 4 + 1}
    whole = errors(model, x, background, expected, 3, background_mode="all", **budget)
    cycled = errors(model, x, background, expected, 3, **budget)
    assert blur < 0.1 * cycled
    assert whole >= 2.5 * cycled


@pytest.mark.parametrize("d", [30, 100])
def test_leverage_comes_closer_than_pairs_on_a_standardised_table(d):
    table, classes = breast_cancer()
    table = table if d == 30 else products(table[:, :13], d)
    model, x, mean = trained(table, classes, d * 2 // 3, 32, 2), table[:12], torch.zeros(d)
    expected, blur = reference(model, x, mean, 4000)
    pairs, leverage = (
        errors(model, x, mean, expected, 4, estimator=estimator, n_evaluations=64 * d)
        for estimator in ("permutation", "leverage")
    )
    assert blur < 0.1 * leverage
    assert pairs >= 1.5 * leverage


def test_orthogonal_pairs_come_closer_than_independent_ones():
    found: dict[str, list[float]] = {"antithetic": [], "orthogonal": []}
    for seed in range(6):
        model, x, baseline = network(12, 2, seed), rows(24, 12, 50 + seed), rows(1, 12, 70 + seed)
        exact = rx.shapley(model, x, baseline, target=1, estimator="exact").values
        budget = {"estimator": "permutation", "n_evaluations": 2 * 11 * 33 + 1}
        for design, each in found.items():
            each.append(errors(model, x, baseline, exact, 4, design=design, **budget))
    lower = 1 - np.mean(found["orthogonal"]) / np.mean(found["antithetic"])
    assert 0.20 <= lower <= 0.45
