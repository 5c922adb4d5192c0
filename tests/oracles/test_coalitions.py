"""Tables, Shapley values and permutation estimates: by hand, by a second definition, by their axioms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles.coalitions import (
    all_coalitions,
    by_permutations,
    exact_shapley,
    from_module,
    permutation_estimate,
    player_labels,
    spread_residual,
    value_table,
    value_tables,
)


def _table(n, outputs=2, seed=0):
    return np.random.default_rng(seed).normal(size=(2**n, outputs))


def _network(features, outputs=2, seed=0):
    torch.manual_seed(seed)
    return from_module(nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, outputs)))


def _close(actual, expected, tolerance=1e-13):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_coalitions_are_the_bits_of_their_index():
    assert all_coalitions(3).astype(int).tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [1, 1, 0],
        [0, 0, 1],
        [1, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
    ]


def test_labels_are_sorted_and_renumbered():
    labels, n = player_labels([[7, -1], [7, 3]])
    assert labels.tolist() == [[2, 0], [2, 1]] and n == 3


def test_table_by_hand():
    """f = (10ac + b, d) on [[a, b], [c, d]]; player 0 holds the first column, player 1 the second."""

    def f(rows):
        return np.stack([10 * rows[:, 0, 0] * rows[:, 1, 0] + rows[:, 0, 1], rows[:, 1, 1]], axis=1)

    x, background = [[2, 3], [4, 5]], np.array([[[0, 1], [7, 2]], [[1, 1], [3, 4]]])
    tables = value_tables(f, x, background, [[0, 1], [0, 1]], 2)
    assert tables.tolist() == [
        [[1, 2], [81, 2], [3, 5], [83, 5]],
        [[31, 4], [81, 4], [33, 5], [83, 5]],
    ]
    table = value_table(f, x, background, [[0, 1], [0, 1]], 2)
    assert table.tolist() == [[16, 3], [81, 3], [18, 5], [83, 5]]
    assert exact_shapley(table).tolist() == [[65, 0], [2, 2]]


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="background"):
        value_table(_network(2), [1, 2], [0, 0], [0, 1], 2)
    with pytest.raises(ValueError, match="labels must be"):
        value_table(_network(2), [1, 2], [[0, 0]], [0, 2], 3)
    with pytest.raises(ValueError, match="2\\^n rows"):
        exact_shapley(np.zeros((6, 1)))


def test_module_is_copied_in_float64_and_eval_mode():
    module = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.9), nn.Flatten(0))
    f = from_module(module)
    rows = np.array([[1.0, 1e-12], [1.0, 0.0]])
    weight, bias = (p.detach().double().numpy() for p in module[0].parameters())
    assert f(rows).shape == (2, 1) and f(rows).dtype == np.float64
    _close(f(rows), rows @ weight.T + bias, 1e-15)
    assert module.training and module[0].weight.dtype == torch.float32


@pytest.mark.parametrize("n", range(1, 8))
def test_both_definitions_agree(n):
    _close(exact_shapley(_table(n)), by_permutations(_table(n)))


def test_golden_network():
    """relu(relu(x1) + 2 relu(x2 - 1/2) - 3/4) at (1, 1) against (0, 0): 5/8 each."""

    def relu(z):
        return np.maximum(z, 0)

    def f(rows):
        return relu(relu(rows[:, :1]) + 2 * relu(rows[:, 1:] - 0.5) - 0.75)

    assert exact_shapley(value_table(f, [1, 1], [[0, 0]], [0, 1], 2)).tolist() == [[0.625], [0.625]]


def test_efficiency_and_linearity():
    one, other = _table(6, seed=1), _table(6, seed=2)
    _close(exact_shapley(one).sum(0), one[-1] - one[0])
    _close(exact_shapley(one + 3 * other), exact_shapley(one) + 3 * exact_shapley(other))
    _close(exact_shapley(one)[:, :1], exact_shapley(one[:, :1]))


def test_symmetry():
    """Players renamed by π: the values go with them; players of equal effect have equal values."""
    n, table = 5, _table(5)
    rename = np.array([3, 0, 4, 1, 2])
    index = (all_coalitions(n) * 2**rename).sum(1)
    renamed = np.empty_like(table)
    renamed[index] = table
    _close(exact_shapley(renamed)[rename], exact_shapley(table))
    by_size = np.random.default_rng(0).normal(size=n + 1)[all_coalitions(n).sum(1)][:, None]
    _close(exact_shapley(by_size), np.full((n, 1), (by_size[-1, 0] - by_size[0, 0]) / n))


def test_dummy_is_exactly_zero():
    f, x = _network(5), np.array([1.0, -2.0, 0.5, 3.0, 1.5])
    background = np.random.default_rng(0).normal(size=(3, 5))
    background[:, 2] = x[2]
    table = value_table(f, x, background, np.arange(5), 5)
    estimate = permutation_estimate(table, [[2, 0, 4, 1, 3], [0, 1, 2, 3, 4]])
    for values in (exact_shapley(table), by_permutations(table), estimate.values):
        assert (values[2] == 0).all() and (values[[0, 1, 3, 4]] != 0).all()


def test_swapping_input_and_baseline_negates():
    f, rng = _network(6), np.random.default_rng(0)
    x, b = rng.normal(size=(2, 6))
    forth, back = (value_table(f, u, v[None], np.arange(6), 6) for u, v in ((x, b), (b, x)))
    _close(exact_shapley(back), -exact_shapley(forth))
    orders = np.array([rng.permutation(6) for _ in range(3)])
    _close(permutation_estimate(back, orders).pairs, -permutation_estimate(forth, orders).pairs)


def test_permutation_estimate_by_hand():
    """v(∅..N) = 0, 1, 2, 4, 3, 5, 7, 10 for ∅, {0}, {1}, {0,1}, {2}, {0,2}, {1,2}, N."""
    table = np.array([0, 1, 2, 4, 3, 5, 7, 10.0])[:, None]
    orders = [[0, 1, 2], [2, 0, 1]]
    plain = permutation_estimate(table, orders, antithetic=False)
    assert plain.pairs[..., 0].tolist() == [[1, 3, 6], [2, 5, 3]]
    assert plain.values[:, 0].tolist() == [1.5, 4, 4.5]
    _close(plain.standard_error[:, 0], [0.5, 1, 1.5])
    paired = permutation_estimate(table, orders)
    assert paired.pairs[..., 0].tolist() == [[2, 3.5, 4.5], [2, 3.5, 4.5]]
    assert paired.standard_error[:, 0].tolist() == [0, 0, 0]
    with np.errstate(invalid="raise"):
        assert np.isnan(permutation_estimate(table, orders[:1]).standard_error).all()


def test_standard_error_of_three_units():
    table = np.array([0, 0, 0, 3, 0, 6, 9, 9.0])[:, None]
    estimate = permutation_estimate(table, [[0, 1, 2], [0, 2, 1], [2, 1, 0]], antithetic=False)
    assert estimate.pairs[..., 0].tolist() == [[0, 3, 6], [0, 3, 6], [0, 9, 0]]
    _close(estimate.standard_error[:, 0], [0, 2, 2])  # sd √12 and √12, over √3


@pytest.mark.parametrize("antithetic", [False, True])
def test_every_unit_is_efficient_and_all_orders_are_exact(antithetic):
    table = _table(4)
    estimate = permutation_estimate(table, list(permutations(range(4))), antithetic)
    _close(estimate.pairs.sum(1), np.broadcast_to(table[-1] - table[0], (24, 2)))
    _close(estimate.values, exact_shapley(table))


def test_one_antithetic_pair_is_exact_up_to_order_two():
    z, rng = all_coalitions(5) * 1.0, np.random.default_rng(0)
    second = z @ rng.normal(size=(5, 2)) + np.einsum("ma,mb,abk->mk", z, z, rng.normal(size=(5, 5, 2)))
    third = second + z[:, :3].prod(1, keepdims=True)
    order = rng.permutation(5)[None]
    _close(permutation_estimate(second, order).values, exact_shapley(second))
    assert np.abs(permutation_estimate(second, order, antithetic=False).values - exact_shapley(second)).max() > 0.1
    assert np.abs(permutation_estimate(third, [[0, 1, 2, 3, 4]]).values - exact_shapley(third)).max() > 0.1


def test_each_unit_plays_against_its_background_row():
    f, rng = _network(4), np.random.default_rng(0)
    x, background = rng.normal(size=4), rng.normal(size=(3, 4))
    tables = value_tables(f, x, background, np.arange(4), 4)
    orders, rows = np.array([rng.permutation(4) for _ in range(6)]), [2, 0, 1, 2, 0, 1]
    cycled = permutation_estimate(tables, orders, rows=rows)
    for g, row in enumerate(rows):
        _close(cycled.pairs[g], permutation_estimate(tables[row], orders[g : g + 1]).values)
    mean = value_table(f, x, background, np.arange(4), 4)
    _close(cycled.values.sum(0), mean[-1] - mean[0])  # each row equally often
    everything = [(order, row) for order in permutations(range(4)) for row in range(3)]
    whole = permutation_estimate(tables, [e[0] for e in everything], rows=[e[1] for e in everything])
    _close(whole.values, exact_shapley(mean))


def test_residual_follows_the_variance_or_else_the_non_zero_values():
    values = np.array([[1.0, 1, 1, 0], [2, 0, 2, 0], [3, 3, 0, 0]])
    errors = np.array([[1.0, 0, np.nan, 0], [2, 0, np.nan, 0], [0, 0, np.nan, 0]])
    before = values.copy()
    spread = spread_residual(values, errors, [16.0, 10, 1, 5])
    _close(spread, [[3, 4, 0, 0], [10, 0, 1, 0], [3, 6, 0, 0]])
    assert (values == before).all()
