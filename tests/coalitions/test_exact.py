"""Exact Shapley values against enumeration in float64 and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.coalitions.support import array, close, network, normal, on_device, rows, table
from tests.oracles.coalitions import exact_shapley
from tests.oracles.games import Airport, Glove, IntegerLayer, Linear, Minimum, Product, Quadratic, Unanimity, Voting


def enumerated(model, x, background, labels=None):
    """(N, K, n) exact values of all rows."""
    return np.stack([exact_shapley(table(model, row, background, labels)).T for row in x])


@pytest.mark.parametrize("backgrounds", [1, 3])
def test_equals_enumeration(backgrounds):
    x, background = rows(4, 7).double(), rows(backgrounds, 7, 2).double()
    model = network(7).double()
    result = rx.shapley(model, x, background, estimator="exact")
    close(result.values, enumerated(model, x, background), 1e-10)
    close(result.values.sum(-1), result.output - result.base_value, 1e-12)
    assert result.n_evaluations == backgrounds * (2**7 - 2) + 1 and result.standard_error is None
    assert result.options["estimator"] == "exact"


def test_more_coalitions_than_are_held_at_once():
    x, model = rows(1, 13).double(), network(13, 1).double()
    result = rx.shapley(model, x, estimator="exact")
    close(result.values, enumerated(model, x, torch.zeros(1, 13).double())[:, 0], 1e-10)


def test_float32_to_rounding():
    x, model = rows(3, 8), network(8)
    close(rx.shapley(model, x).values, enumerated(model, x, torch.zeros(1, 8)), 1e-6)


@pytest.mark.parametrize("labels", [[0, 1, 1, 2, 0, 3, 3, 3], [7, -2, 7, 100, 100, 7, -2, 4]])
def test_groups_are_players(labels):
    x, background = rows(2, 8).double(), rows(2, 8, 3).double()
    model = network(8).double()
    result = rx.shapley(model, x, background, players=torch.tensor(labels), estimator="exact")
    numbered = np.unique(labels, return_inverse=True)[1]
    close(result.values, enumerated(model, x, background, numbered), 1e-10)


def test_a_player_that_stays_gets_exactly_nothing():
    x, background = rows(2, 6), rows(2, 6, 3)
    background[:, 4] = x[1, 4] = x[0, 4]
    background[0, 2] = x[:, 2] = x[0, 2]
    for model in (network(6), lambda batch: network(6)(batch)):
        values = rx.shapley(model, x, background, estimator="exact").values
        assert bool((values[..., 4] == 0).all()) and bool((values[..., [0, 1, 2, 3, 5]] != 0).all())


@pytest.mark.parametrize("estimator", ["exact", "permutation", "leverage"])
def test_a_single_player_gets_everything(estimator):
    x, background = rows(2, 70).double(), rows(3, 70, 4).double()
    for last in (nn.Identity(), nn.Tanh()):
        model = nn.Sequential(network(70).double(), last)
        for f in (model, lambda batch, model=model: model(batch)):
            result = rx.shapley(f, x, background, players=torch.zeros(70, dtype=torch.int64), estimator=estimator)
            close(result.values[..., 0], result.output - result.base_value, 1e-12)
            assert estimator != "permutation" or bool((result.standard_error == 0).all())


def test_images_in_patches():
    model = on_device(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)).double())
    x = normal(2, 2, 8, 8, seed=0).double()
    patches = (torch.arange(8) // 4)[:, None] * 2 + torch.arange(8) // 4
    expected = enumerated(model, x, torch.zeros(1, 2, 8, 8).double(), array(patches.expand(2, 8, 8)))
    for given in (x, x.to(memory_format=torch.channels_last)):
        close(rx.shapley(model, given, players=patches).values, expected, 1e-10)
        close(rx.shapley(lambda batch: model(batch), given, players=patches).values, expected, 1e-10)


@pytest.mark.parametrize(
    "game",
    [
        Linear.random(np.random.default_rng(0), 9),
        Quadratic.random(np.random.default_rng(1), 9),
        Unanimity.random(np.random.default_rng(2), 10),
        IntegerLayer.random(np.random.default_rng(3), 10),
        Glove(4),
        Voting.random(np.random.default_rng(4), 8),
        Airport.random(np.random.default_rng(5), 9),
        Minimum.random(np.random.default_rng(6), 9),
        Product.random(np.random.default_rng(7), 9),
    ],
    ids=lambda game: type(game).__name__,
)
def test_closed_forms(game):
    result = rx.shapley(game, game.x[None], game.baseline, estimator="exact")
    found = result.values[0] if result.values.dim() == 3 else result.values
    close(found, game.shapley().T, 1e-10)


def test_limits():
    def add(batch):
        return batch.sum(1)

    x = rows(1, 27)
    with pytest.raises(rx.InvalidInput, match=r"more than 26 players: 27 would cost 1\.34e\+08 evaluations"):
        rx.shapley(add, x, estimator="exact", n_evaluations=1 << 40)
    with pytest.raises(rx.InvalidInput, match="must be at least 2097151 to ask for exact values of 21 players"):
        rx.shapley(add, x[:, :21], estimator="exact")
    # Asked for, it is done; 21 players of a linear game have its weights times x.
    result = rx.shapley(add, x[:, :21].double(), estimator="exact", n_evaluations=1 << 21)
    close(result.values, x[:, :21], 1e-10)
