"""Closed forms against brute force over all coalitions, golden numbers, and what must hold at any number of players."""

from __future__ import annotations

import time
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch

from tests.oracles.coalitions import all_coalitions, exact_shapley, from_module, permutation_estimate, value_table
from tests.oracles.games import (
    GAMES,
    SECURITY_COUNCIL,
    Airport,
    Glove,
    IntegerLayer,
    Linear,
    Minimum,
    Network,
    Product,
    Quadratic,
    Unanimity,
    Voting,
    on_tensors,
)
from tests.oracles.games.counting import coalition_counts

NETWORKS = ("linear", "unanimity", "integer_layer")


def _game(name, n, seed=0):
    return GAMES[name](np.random.default_rng([seed, n]), n)


def _table(game):
    return value_table(game, game.x, game.background, np.arange(game.n), game.n)


def _close(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("name", GAMES)
def test_closed_form_is_brute_force(name, n):
    for seed in range(3):
        game = _game(name, n, seed)
        table = _table(game)
        assert game.n == n and table.shape == (2**n, game.shapley().shape[1])
        _close(game.shapley(), exact_shapley(table))


@pytest.mark.parametrize("name", GAMES)
def test_sixty_players_are_efficient(name):
    game = _game(name, 60)
    empty, full = game(np.stack([game.baseline, game.x]))
    assert np.abs(game.shapley()).max() > 1e-3
    _close(game.shapley().sum(0), full - empty)


@pytest.mark.parametrize("name", GAMES)
def test_random_games_are_no_trivial_ones(name):
    """Values differ from 0 and one another; one order is exact for linear games alone, a pair for quadratic too."""
    games = [_game(name, 10, seed) for seed in range(5)]
    assert np.mean([np.abs(game.shapley()) > 1e-3 for game in games]) > 0.5
    assert min(game.shapley().std(0).min() for game in games) > 1e-3
    order = [np.random.default_rng(0).permutation(10)]
    for antithetic, exact in ((False, {"linear"}), (True, {"linear", "quadratic"})):
        estimates = [permutation_estimate(_table(game), order, antithetic).values for game in games]
        worst = max(np.abs(e - game.shapley()).max() for e, game in zip(estimates, games, strict=True))
        assert worst < 1e-12 if name in exact else worst > 1e-3


def test_golden_glove():
    assert Glove(3).shapley()[:, 0].tolist() == [3 / 4, 1 / 12, 1 / 12, 1 / 12]
    assert Glove(2, left=1).shapley()[:, 0].tolist() == [1 / 6, 2 / 3, 1 / 6]


def test_golden_votes():
    _close(Voting(51, np.array([50, 49, 1])).shapley()[:, 0], [2 / 3, 1 / 6, 1 / 6])
    permanent, other = float(Fraction(421, 2145)), float(Fraction(4, 2145))
    _close(SECURITY_COUNCIL.shapley()[:, 0], [permanent] * 5 + [other] * 10)
    _close(exact_shapley(_table(SECURITY_COUNCIL)), SECURITY_COUNCIL.shapley())


def test_council_passes_with_all_vetoes_and_nine_votes():
    z = all_coalitions(15)
    passed = SECURITY_COUNCIL.value(z)
    assert (passed == (z[:, :5].all(1) & (z.sum(1) >= 9))).all() and 0 < passed.sum() < len(z)


def test_golden_airport():
    _close(Airport(np.array([12.0, 24, 36, 60])).shapley()[:, 0], [3, 7, 13, 37])
    _close(Airport(np.array([60.0, 12, 36, 24])).shapley()[:, 0], [37, 3, 13, 7])


def test_minimum_product_and_quadratic_by_hand():
    _close(Minimum(np.array([2.0, 6.0])).shapley()[:, 0], [-1, 3])
    _close(Product(np.array([1.0, 2.0])).shapley()[:, 0], [2, 3])  # 1 + (2)/2, 2 + (2)/2
    _close(Quadratic(np.array([1.0, 2.0]), np.array([[0, 3.0], [3, 0]])).shapley()[:, 0], [2.5, 3.5])


def test_equal_players_share_equally():
    n = 60
    for game, total in (
        (Airport(np.full(n, 6.0)), 6.0),
        (Minimum(np.full(n, -3.0)), -3.0),
        (Voting(100, np.full(n, 2)), 1.0),
        (Product(np.full(n, 0.1)), 1.1**n - 1),
        (IntegerLayer(np.ones((1, n)), np.array([-29.5]), np.ones((1, 1)), np.ones(n), np.zeros(n)), 30.5),
    ):
        _close(game.shapley(), np.full((n, 1), total / n))


def test_unanimity_is_shared_by_its_members():
    sets = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 0]], dtype=bool)
    game = Unanimity(sets, np.array([[2.0, 3.0, 5.0], [0.0, -6.0, 0.0]]))
    _close(game.shapley(), [[1, 0], [2, -2], [6, -2], [1, -2]])
    assert game(np.array([[1.0, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 1]])).tolist() == [
        [2, 0],
        [8, -6],
        [10, -6],
        [0, 0],
    ]


def test_counts_are_those_of_an_enumeration():
    steps = np.array([3, -2, 0, 1, 1, -4])
    counts, sums = coalition_counts(steps)
    z = all_coalitions(6)
    expected = np.zeros((6, 6, len(sums)), dtype=int)
    for i in range(6):
        for row in z[~z[:, i]]:
            expected[i, row.sum(), np.flatnonzero(sums == steps[row].sum())[0]] += 1
    assert sums.tolist() == list(range(-6, 6)) and (counts == expected).all()


def test_counts_at_the_most_players():
    counts, _ = coalition_counts(np.ones(66, dtype=np.int64))
    assert counts[7, range(66), range(66)].tolist() == [comb(65, s) for s in range(66)]
    with pytest.raises(ValueError, match="more than 66"):
        coalition_counts(np.ones(67, dtype=np.int64))


def test_integer_layer_of_sixty_players_in_two_known_cases():
    """A unit that fires for whole sets alone is a unanimity game; one that is never cut off is linear."""
    sets = GAMES["unanimity"](np.random.default_rng(0), 60)
    (weight, bias), (output, _) = sets.layers()
    _close(IntegerLayer(weight, bias, output, sets.x, sets.baseline).shapley(), sets.shapley())
    layer = _game("integer_layer", 60)
    open_always = IntegerLayer(layer.weight, np.full(6, 1e4), layer.output, layer.x, layer.baseline)
    linear = Linear(layer.output @ layer.weight, np.zeros(2), layer.x, layer.baseline)
    _close(open_always.shapley(), linear.shapley(), 1e-10)  # values near 1e4 are subtracted


def test_integer_layer_of_sixty_players_is_quick():
    game, start = _game("integer_layer", 60), time.process_time()
    game.shapley()
    assert time.process_time() - start < 1.0


def test_background_sets():
    rng = np.random.default_rng(0)
    linear, layer = _game("linear", 8), _game("integer_layer", 8)
    rows = layer.x + rng.integers(-1, 2, size=(3, 8))
    for game in (
        Linear(linear.weight, linear.bias, linear.x, rng.normal(size=(4, 8))),
        IntegerLayer(layer.weight, layer.bias, layer.output, layer.x, rows),
    ):
        _close(game.shapley(), exact_shapley(value_table(game, game.x, game.baseline, np.arange(8), 8)))


def test_integer_layer_refuses_steps_that_are_not_integer():
    with pytest.raises(ValueError, match="must be integer"):
        IntegerLayer(np.full((1, 2), 0.5), np.zeros(1), np.ones((1, 1)), np.ones(2), np.zeros(2)).shapley()


@pytest.mark.parametrize("n", [1, 10, 60])
@pytest.mark.parametrize("name", NETWORKS)
def test_modules_compute_the_game(name, n):
    """Exactly, in float32: the random instances are made of small multiples of 1/8."""
    game, present = _game(name, n), np.random.default_rng(1).random((50, n)) < 0.7
    rows = np.vstack([np.where(present, game.x, game.baseline), game.x, game.baseline])
    module = game.module()
    assert isinstance(game, Network) and not module.training
    result = module(torch.from_numpy(rows).float())
    assert result.dtype == torch.float32 and (result.detach().double().numpy() == game(rows)).all()
    assert (from_module(module)(rows) == game(rows)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_games_take_tensors(dtype):
    game = _game("airport", 5)
    rows = torch.from_numpy(all_coalitions(5)).to(dtype)
    found = on_tensors(game, rows)
    assert found.dtype == dtype and found.shape == (32, 1)
    assert found.tolist() == torch.from_numpy(game(rows.numpy())).to(dtype).tolist()
