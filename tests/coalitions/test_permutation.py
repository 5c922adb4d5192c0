"""Sampled orders: every number against the oracle's walk over the same orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.coalitions.designs import background_rows, orders
from tests.coalitions.support import array, close, network, path_of_perceptron, rows, tables
from tests.oracles.coalitions import permutation_estimate, spread_residual
from tests.oracles.games import IntegerLayer, Linear, Quadratic, Unanimity

PAIR = 2 * (6 - 1)


def sampled(model, x, background=None, **options):
    return rx.shapley(model, x, background, estimator="permutation", **options)


@pytest.mark.parametrize("design", ["antithetic", "orthogonal", "plain"])
@pytest.mark.parametrize("backgrounds", [1, 4])
def test_equals_a_walk_over_the_same_orders(design, backgrounds):
    x, background = rows(3, 6).double(), rows(backgrounds, 6, 2).double()
    model = network(6).double()
    cost = PAIR if design != "plain" else PAIR // 2
    result = sampled(model, x, background, design=design, n_evaluations=23 * cost + 1, seed=9)
    units = int(result.options["pairs" if design != "plain" else "orders"][0])
    assert units == {1: 20, 4: 20}[backgrounds] if design == "orthogonal" else units == {1: 23, 4: 20}[backgrounds]
    assert result.n_evaluations == units * cost + 1
    numbers = torch.arange(3)
    walked, cycle = orders(design, 9, numbers, range(units), 6), background_rows(9, numbers, range(units), backgrounds)
    for row in range(3):
        each = tables(model, x[row], background)
        found = permutation_estimate(each, array(walked[row]), design != "plain", array(cycle[row]))
        close(result.values[row], found.values.T, 1e-10)
        close(result.standard_error[row], found.standard_error.T, 1e-9)
    close(result.values.sum(-1), result.output - result.base_value, 1e-12)


def test_every_background_row_for_every_order():
    x, background = rows(2, 6).double(), rows(3, 6, 2).double()
    model = network(6).double()
    result = sampled(model, x, background, background_mode="all", n_evaluations=3 * 7 * PAIR + 1)
    assert result.n_evaluations == 3 * 7 * PAIR + 1
    walked = orders("antithetic", 0, torch.arange(2), range(7), 6)
    for row in range(2):
        mean = tables(model, x[row], background).mean(0)
        found = permutation_estimate(mean, array(walked[row]))
        close(result.values[row], found.values.T, 1e-10)
        close(result.standard_error[row], found.standard_error.T, 1e-9)


def test_background_rows_are_averaged_in_float64():
    """Marginals 1e8, 1 and -1e8, exact in float32, where their sum would be 0."""
    model = nn.Linear(2, 1)
    nn.init.ones_(model.weight), nn.init.zeros_(model.bias)
    background = torch.tensor([[-1e8, 0.0], [-1.0, 0.0], [1e8, 0.0]])
    result = sampled(model, torch.zeros(1, 2), background, background_mode="all", n_evaluations=3 * 4 + 1)
    assert result.options["path"] == path_of_perceptron(torch.float32, 1, 2)
    close(result.values, np.array([[1 / 3, 0]]), 1e-7)


def test_backgrounds_that_are_not_used_equally_often():
    x, background = rows(3, 6).double(), rows(5, 6, 2).double()
    model = network(6).double()
    result = sampled(model, x, background, n_evaluations=3 * PAIR + 1)
    walked = orders("antithetic", 0, torch.arange(3), range(3), 6)
    cycle = background_rows(0, torch.arange(3), range(3), 5)
    for row in range(3):
        found = permutation_estimate(tables(model, x[row], background), array(walked[row]), True, array(cycle[row]))
        total = array((result.output - result.base_value)[row])
        assert np.abs(found.values.sum(0) - total).max() > 1e-3
        close(result.values[row], spread_residual(found.values, found.standard_error, total).T, 1e-10)
    close(result.values.sum(-1), result.output - result.base_value, 1e-12)


def test_one_unit_has_no_error_and_still_adds_up():
    x, background = rows(2, 6).double(), rows(2, 6, 2).double()
    background[:, 2] = x[0, 2]  # a dummy of row 0
    model = network(6).double()
    result = sampled(model, x, background, n_evaluations=PAIR + 1)
    assert bool(result.standard_error.isnan().all())
    close(result.values.sum(-1), result.output - result.base_value, 1e-12)
    assert bool((result.values[0, :, 2] == 0).all())


@pytest.mark.parametrize("game", [Linear, Quadratic])
def test_one_pair_is_exact_for_interactions_in_pairs(game):
    made = game.random(np.random.default_rng(0), 40)
    result = rx.shapley(made, made.x[None], made.baseline, n_evaluations=2 * 39 + 1, estimator="permutation")
    close(result.values.view(-1, 40), made.shapley().T, 1e-10)


def unanimity(rng: np.random.Generator, n: int) -> Unanimity:
    """Sets of two to six players: a marginal that hardly ever differs from 0 has no normal errors."""
    sets = np.array([rng.permutation(n) < size for size in rng.integers(2, 7, size=30)])
    return Unanimity(sets, rng.integers(-16, 17, size=(2, 30)) / 8)


@pytest.mark.parametrize("game", [unanimity, IntegerLayer.random], ids=["unanimity", "integer layer"])
@pytest.mark.parametrize("design", ["antithetic", "orthogonal", "plain"])
def test_large_games_within_their_errors(game, design):
    made = game(np.random.default_rng(1), 60)
    result = rx.shapley(
        made.module(),
        torch.tensor(made.x[None]).float(),
        torch.tensor(made.baseline).float(),
        estimator="permutation",
        design=design,
        n_evaluations=2 * 59 * 118 + 1,
    )
    values, error = (array(found[0].double()) for found in (result.values, result.standard_error))
    z = (values - made.shapley().T) / (error + 1e-6)
    # 120 comparisons with at least 117 degrees of freedom: a t quantile at 1 - 0.001/240.
    assert np.abs(z).max() < 4.9
    assert np.abs(z).max() > 0.5


def test_a_player_without_influence_gets_exactly_nothing():
    x = rows(2, 6)
    model = network(6)
    with torch.no_grad():
        model[0].weight[:, 1] = 0
    baseline = rows(1, 6, 5)
    baseline[:, 4] = x[0, 4]
    result = sampled(model, x, baseline)
    for values in (result.values, result.standard_error):
        assert bool((values[:, :, 1] == 0).all()) and bool((values[0, :, 4] == 0).all())
        assert bool((values[1, :, 4] != 0).any())


def test_exchanging_input_and_baseline_changes_the_sign():
    x, baseline = rows(1, 6).double(), rows(1, 6, 3).double()
    model = network(6).double()
    there, back = sampled(model, x, baseline), sampled(model, baseline, x)
    close(there.values, -back.values, 1e-12)


def test_outputs_do_not_know_of_each_other():
    x, model = rows(3, 6), network(6)
    every = sampled(model, x, n_evaluations=500)
    for k in range(3):
        one = sampled(model, x, target=k, n_evaluations=500)
        assert torch.equal(one.values, every.values[:, k]) and torch.equal(one.base_value, every.base_value[:, k])
        assert torch.equal(one.standard_error, every.standard_error[:, k])
    mixed = sampled(model, x, target=[2, 0, 1], n_evaluations=500)
    assert torch.equal(mixed.values, every.values[torch.arange(3), torch.tensor([2, 0, 1])])
    assert torch.equal(mixed.base_value, every.base_value[torch.arange(3), torch.tensor([2, 0, 1])])


def test_shapes_of_outputs():
    x = rows(2, 6)
    single = nn.Sequential(network(6, 1))
    assert sampled(single, x).values.shape == (2, 6)
    assert sampled(single, x, target="all").values.shape == (2, 1, 6)
    assert sampled(nn.Sequential(network(6, 4), nn.Unflatten(1, (2, 2))), x).values.shape == (2, 2, 2, 6)
    assert sampled(lambda batch: batch.sum(1), x).values.shape == (2, 6)
    assert sampled(network(6), x[:0]).values.shape == (0, 3, 6)
    assert sampled(network(6), x.double().half().float()).values.dtype == torch.float32
