"""A memory budget splits the work and leaves the values."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import reluxfast as rx
from tests.support import assert_close
from tests.zoo import CONSTRUCTS

OPTIONS = {
    "grad_cam": {"layer": "conv2"},
    "guided_grad_cam": {"layer": "conv1"},
    "integrated_gradients": {"n_steps": 6},
    "smooth_grad": {"n_samples": 6},
    "expected_gradients": {"n_samples": 6},
}


class _LargestBatch(TorchDispatchMode):
    """Rows of the largest activation of more than one dimension that any operation makes."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if "convolution" in func.overloadpacket.__name__ and isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("target", [1, "all"], ids=str)
@pytest.mark.parametrize("method", rx.methods("relevance"))
def test_values_do_not_depend_on_the_budget(method, target):
    construct = CONSTRUCTS["relu_module"]
    model, x = construct.model(torch.float64), torch.randn(11, 3, 8, 8).double()
    options = OPTIONS.get(method, {})
    expected = rx.attribute(model, x, target, method, **options)
    for budget in (1_000_000, 50_000, {"lrp": 10_000, "deep_lift": 11_000}.get(method, 6_000)):
        explainer = rx.Explainer(model, x, memory_budget=budget)
        result = explainer.attribute(x, target, method, **options)
        assert_close(result.values, expected.values, 1e-12, f"budget {budget}")
        assert_close(result.output, expected.output, 1e-12, f"output, budget {budget}")


def test_a_budget_really_splits():
    """The largest convolution result of a tight budget has fewer rows than that of none."""
    model, x = CONSTRUCTS["vgg"].model(), torch.randn(16, 3, 12, 12)
    largest = {}
    for budget in (None, 12_000):
        explainer = rx.Explainer(model, x, memory_budget=budget)
        with _LargestBatch() as seen:
            explainer.attribute(x, 1, "guided_backprop")
        largest[budget] = seen.elements
    assert 0 < largest[12_000] <= largest[None] / 4


def test_a_budget_below_one_row_is_an_error():
    model, x = CONSTRUCTS["vgg"].model(), torch.randn(2, 3, 12, 12)
    with pytest.raises(rx.InvalidInput, match="one row") as raised:
        rx.Explainer(model, x, memory_budget=1).attribute(x, 1, "guided_backprop")
    assert raised.value.argument == "memory_budget"


@pytest.mark.parametrize("budget", [True, 0, -5, 1.5, "1 GB"])
def test_a_budget_that_is_no_number_of_bytes(budget):
    with pytest.raises(rx.InvalidInput, match="positive number of bytes"):
        rx.Explainer(torch.nn.Linear(3, 2), torch.randn(2, 3), memory_budget=budget)


def test_steps_of_time_in_the_batch_dimension_count():
    """(N, T, F) flattened to (N * T, F): a row is T rows there."""

    class TimeDistributed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = torch.nn.Linear(4, 64)

        def forward(self, x):
            return torch.relu(self.wide(x.reshape(-1, 4))).reshape(x.shape[0], -1).sum(1)

    model, x = TimeDistributed(), torch.randn(8, 100, 4)
    row = 100 * 64 * x.element_size()
    with pytest.raises(rx.InvalidInput, match="one row"):
        rx.Explainer(model, x, memory_budget=row // 2).attribute(x)
    explainer = rx.Explainer(model, x, memory_budget=6 * row)
    assert_close(explainer.attribute(x).values, rx.gradient(model, x).values, 1e-6)
