"""The same seed gives the same bits, whatever is explained together and however the work is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.coalitions import chains
from tests.coalitions.support import network, rows
from tests.device import KIND

METHODS = {
    "exact": ("shapley", {"estimator": "exact"}),
    "antithetic": ("shapley", {"estimator": "permutation", "n_evaluations": 300}),
    "orthogonal": ("shapley", {"estimator": "permutation", "design": "orthogonal", "n_evaluations": 300}),
    "tolerance": ("shapley", {"estimator": "permutation", "tolerance": 0.1, "n_evaluations": 3000}),
    "leverage": ("shapley", {"estimator": "leverage", "n_evaluations": 300}),
    "kernel_shap": ("kernel_shap", {"n_evaluations": 300}),
    "lime": ("lime", {"n_evaluations": 200}),
}


def integer_model(batch):
    """Rows by themselves, exactly: no rounding depends on the batch."""
    z = (batch * 4).round()
    return torch.stack([(z[:, 0] * z[:, 1] - z[:, 2]).relu(), (z.cumsum(1)[:, 3:] - 2).relu().amax(1)], 1) / 8


@pytest.mark.parametrize("name", METHODS)
def test_batching_changes_no_bit(name, monkeypatch):
    method, options = METHODS[name]
    explain = getattr(rx, method)
    x, background = rows(6, 6), rows(3, 6, 2)
    whole = (
        explain(integer_model, x, background, seed=3, **options)
        if name != "exact"
        else explain(integer_model, x, background, **options)
    )
    seeded = {} if name == "exact" else {"seed": 3}
    for how in ({"batch_size": 1}, {"batch_size": 7}, {"batch_size": 5000}, {"memory_budget": 2000}):
        cut = explain(integer_model, x, background, **seeded, **options, **how)
        assert torch.equal(cut.values, whole.values), how
        assert cut.standard_error is None or torch.equal(cut.standard_error, whole.standard_error)
    monkeypatch.setattr(chains, "_JOBS", 40)
    cut = explain(integer_model, x, background, **seeded, **options, batch_size=9)
    assert torch.equal(cut.values, whole.values)


@pytest.mark.parametrize("name", ["antithetic", "orthogonal", "tolerance"])
def test_rows_alone_or_together(name):
    """Row r of a call is keyed by its number, so that the first rows of a call are those of a shorter one."""
    _, options = METHODS[name]
    x, model = rows(5, 6), network(6)
    whole = rx.shapley(model, x, seed=1, **options)
    for count in (1, 2, 4):
        part = rx.shapley(model, x[:count], seed=1, **options)
        assert torch.equal(part.values, whole.values[:count])
        assert torch.equal(part.standard_error, whole.standard_error[:count])
    assert not torch.equal(rx.shapley(model, x, seed=2, **options).values, whole.values)


@pytest.mark.skipif(KIND != "cpu", reason="the number of threads is the CPU's")
@pytest.mark.parametrize("name", METHODS)
def test_threads_change_no_bit(name):
    method, options = METHODS[name]
    x, model = rows(5, 6), network(6)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(getattr(rx, method)(model, x, rows(2, 6, 7), **options).values)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_global_generators_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    x, model = rows(2, 6), integer_model
    for estimator in ("permutation", "leverage"):
        rx.shapley(model, x, estimator=estimator)
    rx.kernel_shap(model, x, n_evaluations=60)
    rx.lime(model, x, n_evaluations=60)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.parametrize("name", ["antithetic", "orthogonal", "tolerance"])
def test_shared_orders_are_those_of_the_first_row(name):
    _, options = METHODS[name]
    x, background, model = rows(5, 6), rows(3, 6, 2), network(6)
    shared = rx.shapley(model, x, background, shared_orders=True, **options)
    for row in range(5):
        alone = rx.shapley(model, x[row : row + 1], background, **options)
        assert torch.equal(shared.values[row], alone.values[0])
        assert torch.equal(shared.standard_error[row], alone.standard_error[0])
    assert not torch.equal(shared.values[1:], rx.shapley(model, x, background, **options).values[1:])
