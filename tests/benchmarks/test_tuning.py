"""The fastest of some options."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from reluxfast.benchmarks.problem import Prepared
from reluxfast.benchmarks.tuning import fastest, searching

CPU = torch.device("cpu")


def test_the_fastest_is_taken():
    def call(seconds):
        calls.append(seconds)
        time.sleep(seconds)

    calls = []
    assert fastest(call, [0.03, 0.001, 0.02], CPU) == 0.001
    assert calls == [0.03, 0.001, 0.02] * 5


def test_a_slow_option_is_called_until_it_took_enough():
    def call(seconds):
        calls.append(seconds)
        time.sleep(seconds)

    calls = []
    assert fastest(call, [0.03, 0.001], CPU, enough_s=0.05) == 0.001
    assert calls == [0.03, 0.001] * 2 + [0.001] * 3


def test_one_slow_call_does_not_decide():
    def call(option):
        calls.append(option)
        time.sleep(0.02 if option == "slow" or calls == ["disturbed"] else 0.001)

    calls = []
    assert fastest(call, ["disturbed", "slow"], CPU) == "disturbed"


def test_one_option_is_not_tried():
    def call(option):
        raise AssertionError("called")

    assert fastest(call, ["only"], CPU) == "only"


def test_what_raises_is_not_chosen():
    def call(option):
        if option != "good":
            raise RuntimeError(f"no batch of {option}")

    assert fastest(call, ["bad", "good", "worse"], CPU) == "good"
    with pytest.raises(RuntimeError, match="no batch of bad"):
        fastest(call, ["bad", "worse"], CPU)


@pytest.mark.parametrize(("device", "on"), [("cuda", True), ("cpu", False)])
def test_cudnn_searches_for_tuned_providers_on_its_device_alone(device, on):
    def provider(problem):
        seen.append(torch.backends.cudnn.benchmark)
        return Prepared(lambda: seen.append(torch.backends.cudnn.benchmark), "gradient", "folded")

    seen = []
    assert not torch.backends.cudnn.benchmark
    found = searching(provider)(SimpleNamespace(device=torch.device(device)))
    found.call()
    assert seen == [on, on] and not torch.backends.cudnn.benchmark
    assert found.note == ("folded; cudnn.benchmark" if on else "folded")


def test_the_search_ends_with_a_provider_that_raises():
    def provider(problem):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        searching(provider)(SimpleNamespace(device=torch.device("cuda")))
    assert not torch.backends.cudnn.benchmark
