"""Work split over processes: states of different pairs, as one result."""

from __future__ import annotations

import pickle
import re

import pytest
import torch

import reluxfast as rx
from tests.coalitions.support import network, rows

N = 7
PAIR = 2 * (N - 1)


FIRST = torch.tensor([0, 0, 1, 1, 2, 2, 2])


def run(first, pairs, x=None, background=None, seed=3, f=None, **options):
    x, background = rows(4, N) if x is None else x, rows(5, N, 2) if background is None else background
    per_unit = PAIR // 2 if options.get("design") == "plain" else PAIR
    budget = pairs * per_unit * (5 if options.get("background_mode") == "all" else 1) + 1
    options = {"estimator": "permutation", "n_evaluations": budget, "seed": seed, "first_pair": first, **options}
    return rx.shapley(f or network(N), x, background, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"target": 1}, {"design": "plain"}, {"design": "orthogonal"}, {"background_mode": "all"}],
    ids=str,
)
def test_equals_one_run(options):
    whole = run(0, 60, **options)
    # Two pairs and three use some of the five background rows alone.
    pieces = ((30, 30), (0, 30)) if options.get("design") == "orthogonal" else ((5, 55), (0, 3), (3, 2))
    parts = [run(first, count, **options) for first, count in pieces]
    merged = rx.merge(pickle.loads(pickle.dumps(parts)))
    units = "orders" if options.get("design") == "plain" else "pairs"
    for got, want in (
        (merged.values, whole.values),
        (merged.standard_error, whole.standard_error),
        (merged.samples.values(), whole.samples.values()),
        (merged.samples.moments.standard_error, whole.samples.moments.standard_error),
    ):
        near = 1e-13 if want.dtype == torch.float64 else 1e-6
        assert got.shape == want.shape and torch.allclose(got, want, rtol=near, atol=near)
    assert merged.n_evaluations == whole.n_evaluations
    assert torch.equal(merged.options[units], whole.options[units])
    assert not torch.equal(parts[0].values, merged.values)


def test_without_a_first_pair_nothing_is_kept_and_bits_are_the_same():
    with_state, without = run(0, 20), run(None, 20)
    assert without.samples is None and torch.equal(with_state.values, without.values)
    assert torch.equal(with_state.standard_error, without.standard_error)
    assert rx.merge([with_state]).values.equal(with_state.values)


def test_pairs_are_those_of_the_numbers():
    one, other = run(0, 20), run(20, 20)
    assert not torch.equal(one.values, other.values)
    assert torch.equal(other.values, run(20, 20).values)


def test_other_seeds_are_other_pairs():
    merged = rx.merge([run(0, 20, seed=3), run(0, 20, seed=4)])
    assert merged.options["pairs"].tolist() == [40] * 4 and merged.options["seed"] is None
    assert bool((merged.standard_error < run(0, 20).standard_error).float().mean() > 0.9)


def test_rows_that_stopped_early_and_merging_again():
    parts = [run(1000 * k, 500, tolerance=0.05) for k in range(3)]
    merged = rx.merge([rx.merge(parts[:2]), parts[2]])
    counts = torch.stack([part.options["pairs"] for part in parts])
    assert len(counts.unique()) > 1 and torch.equal(merged.options["pairs"], counts.sum(0))
    assert "converged" not in merged.options
    total = merged.values.sum(-1) - (merged.output - merged.base_value)
    assert float(total.abs().max()) <= 1e-5 * float(merged.output.abs().max())


def test_rows_that_an_interrupt_left_without_pairs():
    part, empty = run(0, 20), run(20, 20)
    moments = empty.samples.moments
    for values in (moments.count, moments.mean, moments.m2):
        values[1:] = 0
    empty.samples.drawn[0][2][1:] = 0
    merged = rx.merge([empty, part])
    assert torch.allclose(merged.values[1:], part.values[1:], rtol=1e-6, atol=1e-6)
    assert merged.options["pairs"].tolist() == [40, 20, 20, 20]
    assert merged.n_evaluations.tolist() == [40 * PAIR + 1] + [20 * PAIR + 1] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: [], "results must hold at least one result, got none"),
        (
            lambda: [run(0, 5), run(None, 5)],
            "results[1] must be sampled Shapley values with their state, got Attribution. Pass first_pair to shapley",
        ),
        (lambda: ["other"], "results[0] must be sampled Shapley values with their state, got str"),
        (
            lambda: [run(0, 10), run(20, 10), run(5, 15)],
            "results[2] must not share pairs with the results before it, got 5 to 19 of seed 3. Give each run pairs",
        ),
        (
            lambda: [run(0, 10), run(10, 10, design="plain")],
            "results[1] must have the design of the first, 'antithetic'",
        ),
        (
            lambda: [run(0, 10), run(10, 10, background_mode="all")],
            "results[1] must have the background_mode of the first, 'cycle', got 'all'",
        ),
        (lambda: [run(0, 10), run(10, 10, target=1)], "results[1] must have values of the shape of the first's"),
        (lambda: [run(0, 10), run(10, 10, x=rows(4, N, 5))], "results[1] must explain the same rows as the first"),
        (
            lambda: [run(0, 10), run(10, 10, background=rows(5, N, 8))],
            "results[1] must have the baselines of the first",
        ),
        (lambda: [run(0, 9), run(9, 9, background=rows(4, N, 2))], "results[1] must have the baselines of the first"),
        (
            lambda: [run(0, 10, players=FIRST), run(10, 10, players=FIRST.flip(0) * 2)],
            "results[1] must have the players of the first, got others",
        ),
        (lambda: [run(0, 10, target=0), run(10, 10, target=1)], "results[1] must have the target of the first"),
        (lambda: [run(0, 10), run(10, 10, f=network(N, seed=1))], "results[1] must explain the same function as the"),
        (lambda: [run(0, 10, seed=-1), run(5, 10, seed=2**64 - 1)], "results[1] must not share pairs with the results"),
        (lambda: run(0, 10), "results must be a list of results, got Attribution"),
        (lambda: None, "results must be a list of results, got NoneType"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(rx.InvalidInput, match=re.escape(message)):
        rx.merge(change())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_pair": -1}, "first_pair must be an int of at least 0, got -1"),
        ({"first_pair": 1.5}, "first_pair must be an int, got 1.5"),
        ({"first_pair": 0, "estimator": "exact"}, "first_pair has no meaning for the exact estimator, got 0"),
        ({"first_pair": 0, "estimator": "leverage"}, "first_pair has no meaning for the leverage estimator"),
        ({"first_pair": 1 << 32}, "first_pair must leave numbers below 2**32"),
        (
            {"first_pair": 0, "players": torch.zeros(4, N).long()},
            "first_pair has no meaning where rows have players of",
        ),
    ],
)
def test_refuses_first_pairs(options, message):
    with pytest.raises(rx.InvalidInput, match=re.escape(message)):
        rx.shapley(network(N), rows(4, N), **options)


def test_a_first_pair_makes_auto_sample():
    result = rx.shapley(network(N), rows(2, N), first_pair=0, n_evaluations=200)
    assert result.options["estimator"] == "permutation" and result.samples is not None


def test_the_state_is_that_of_the_result():
    result = run(0, 20)
    before = result.samples.moments.mean.clone()
    rx.merge([result, run(20, 20)])
    assert torch.equal(result.samples.moments.mean, before)
