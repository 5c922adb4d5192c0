"""No adapter leaves a trace: on the model, on its inputs, after an error, from many threads at once."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch

import reluxfast as rx
from tests.compat.calls import ADAPTERS, parameters, tensors
from tests.support import assert_same_bits, assert_untouched, fingerprint

FAILING = [name for name, adapter in ADAPTERS.items() if adapter.out_of_range is not None]


@pytest.mark.parametrize("name", parameters(ADAPTERS))
def test_after_a_call(name):
    adapter = ADAPTERS[name]
    model, x = adapter.model(), adapter.inputs()
    before, inputs = fingerprint(model), x.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing to warn of
        found = adapter.make(model)(x)
    assert all(t.isfinite().all() and not t.requires_grad for t in tensors(found))
    assert_untouched(before, model)
    assert_same_bits(x, inputs, "inputs")
    assert not x.requires_grad and x.grad is None


@pytest.mark.parametrize("name", parameters(ADAPTERS))
def test_a_model_in_training_mode_stays_in_it(name):
    adapter = ADAPTERS[name]
    model, x = adapter.model().train(), adapter.inputs()
    before = fingerprint(model)
    adapter.make(model)(x)
    assert model.training
    assert_untouched(before, model)


@pytest.mark.parametrize("name", parameters(FAILING))
def test_after_an_error(name):
    adapter = ADAPTERS[name]
    model, x = adapter.model(), adapter.inputs()
    before = fingerprint(model)
    with pytest.raises((rx.ReluxfastError, IndexError)):
        adapter.out_of_range(model, x)
    assert_untouched(before, model)
    assert not x.requires_grad and x.grad is None


@pytest.mark.parametrize("name", parameters(ADAPTERS))
def test_from_eight_threads(name):
    adapter = ADAPTERS[name]
    model, x = adapter.model(), adapter.inputs()
    before, alone = fingerprint(model), tensors(adapter.make(model)(x))
    found: list = [None] * 8

    def work(number: int) -> None:
        torch.set_num_threads(1)
        try:
            found[number] = tensors(adapter.make(model)(x))
        except BaseException as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in found:
        assert isinstance(values, list), repr(values)
        for value, expected in zip(values, alone, strict=True):
            assert value.shape == expected.shape and value.isfinite().all()
            if not adapter.random:
                assert_same_bits(value, expected, name)
    assert_untouched(before, model)


@pytest.mark.parametrize("name", parameters(name for name in ADAPTERS if name.startswith("captum.")))
def test_a_batch_of_nothing(name):
    adapter = ADAPTERS[name]
    explain = adapter.make(adapter.model())
    for none, some in zip(tensors(explain(adapter.inputs()[:0])), tensors(explain(adapter.inputs())), strict=True):
        assert none.shape == (0, *some.shape[1:]) and none.dtype == some.dtype
