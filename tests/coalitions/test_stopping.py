"""Budgets, tolerances and interrupts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.coalitions.moments import Moments
from tests.coalitions.support import array, network, normal, rows

PAIR = 2 * (8 - 1)


def test_rows_stop_when_they_are_done():
    x, model = rows(6, 8), network(8)
    x[2] = 0  # equals the baseline: there is nothing to find
    result = rx.shapley(model, x, tolerance=0.02, estimator="permutation")
    assert result.options["converged"] is True
    spread = result.values.amax(-1) - result.values.amin(-1)
    done = (result.standard_error.amax(-1) / spread < 0.02) | (spread == 0)
    assert bool(done.all())
    pairs = result.options["pairs"]
    assert int(pairs[2]) == 8 and len(pairs.unique()) > 2
    assert torch.equal(result.n_evaluations, pairs * PAIR + 1)
    # Each stopped at the first look that satisfied it: with a quarter fewer pairs it was not done.
    row = int(pairs.argmax())
    fewer = rx.shapley(model, x, estimator="permutation", n_evaluations=int(pairs[row] * 2 // 3) * PAIR + 1)
    spread = fewer.values.amax(-1) - fewer.values.amin(-1)
    assert float((fewer.standard_error.amax(-1) / spread)[row].max()) >= 0.02


def test_a_tolerance_that_is_not_reached():
    result = rx.shapley(network(8), rows(2, 8), tolerance=1e-6, n_evaluations=500, estimator="permutation")
    assert result.options["converged"] is False
    assert result.n_evaluations == (499 // PAIR) * PAIR + 1


def test_backgrounds_are_used_up_at_every_look():
    result = rx.shapley(network(8), rows(4, 8), rows(5, 8, 2), tolerance=0.05, estimator="permutation")
    assert bool((result.options["pairs"] % 5 == 0).all())


def test_interrupted_runs_keep_what_they_have(monkeypatch):
    model, calls = network(8), []

    def impatient(batch):
        calls.append(len(batch))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return model(batch)

    x = rows(3, 8)
    result = rx.shapley(impatient, x, estimator="permutation", tolerance=1e-9, n_evaluations=1 << 20, batch_size=64)
    assert result.options["interrupted"] is True and result.options["converged"] is False
    assert len(calls) == 12
    assert bool((result.options["pairs"] >= 8).all()) and int(result.options["pairs"].max()) < 1000
    assert torch.allclose(result.values.sum(-1), result.output - result.base_value, atol=1e-6)
    whole = rx.shapley(lambda batch: model(batch), x, estimator="permutation", n_evaluations=1 << 16)
    z = (result.values - whole.values) / result.standard_error
    assert float(z.abs().max()) < 5


def test_an_interrupt_loses_no_more_than_a_few_calls():
    model, calls = network(8), []

    def impatient(batch):
        calls.append(len(batch))
        if len(calls) == 60:
            raise KeyboardInterrupt
        return model(batch)

    result = rx.shapley(impatient, rows(2, 8), estimator="permutation", n_evaluations=1000 * PAIR + 1, batch_size=16)
    # Of 59 calls of 16 coalitions one was for both ends and up to eight are lost.
    assert int(result.options["pairs"].sum()) >= (59 - 1 - 8) * 16 // PAIR - 2


def test_an_error_that_is_not_known_is_not_small():
    result = rx.shapley(network(8), rows(2, 8), estimator="permutation", tolerance=1e-6, n_evaluations=PAIR + 1)
    assert result.options["pairs"].tolist() == [1, 1] and bool(result.standard_error.isnan().all())
    assert result.options["converged"] is False
    alone = rx.shapley(network(8), rows(2, 8), estimator="permutation", tolerance=1e-6, players=torch.zeros(8).long())
    assert alone.options["converged"] is True and bool((alone.standard_error == 0).all())


def test_before_the_first_pair_there_is_nothing(monkeypatch):
    model, calls = network(8), []

    def impatient(batch):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return model(batch)

    result = rx.shapley(impatient, rows(2, 8), estimator="permutation")
    assert bool(result.values.isnan().all()) and result.options["interrupted"] is True
    assert bool(result.standard_error.isnan().all()) and result.n_evaluations == 1 and len(calls) == 3


def test_moments_of_parts_are_those_of_the_whole():
    units = normal(3, 41, 5, 2, seed=0, dtype=torch.float64) * 3 + 100
    rows_ = torch.arange(3)
    whole, first, second, nothing = (Moments(3, 5, 2, units.device) for _ in range(4))
    whole.add(rows_, units)
    first.add(rows_, units[:, :13])
    for some in (rows_[:1], rows_[1:]):
        second.add(some, units[some, 13:])
    first.merge(second)
    first.merge(nothing)
    assert torch.equal(first.count, torch.full((3,), 41))
    assert torch.allclose(first.mean, whole.mean, rtol=1e-14) and torch.allclose(first.m2, whole.m2, rtol=1e-12)
    exact = np.stack([u.std(0, ddof=1) / 41**0.5 for u in array(units)])
    assert np.allclose(array(whole.standard_error), exact, rtol=1e-12)
    assert torch.allclose(whole.mean, units.mean(1), rtol=1e-14)
    assert bool(nothing.standard_error.isnan().all())


@pytest.mark.parametrize("n_evaluations", [PAIR, PAIR // 2 + 1, 1])
def test_a_budget_below_one_pair(n_evaluations):
    with pytest.raises(rx.InvalidInput, match="n_evaluations must be at least 15, one antithetic pair of 8 players"):
        rx.shapley(network(8), rows(1, 8), estimator="permutation", n_evaluations=n_evaluations)
    with pytest.raises(rx.InvalidInput, match="must be at least 8, one order of 8 players"):
        rx.shapley(network(8), rows(1, 8), estimator="permutation", n_evaluations=7, design="plain")
    with pytest.raises(rx.InvalidInput, match="must be at least 43, one antithetic pair"):
        rx.shapley(network(8), rows(1, 8), rows(3, 8), estimator="permutation", n_evaluations=42, background_mode="all")
