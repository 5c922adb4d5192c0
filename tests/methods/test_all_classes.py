"""target="all": every class from one forward pass, equal to the single targets."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import reluxfast as rx
from reluxfast.ops.backend import available_backends
from tests.relevance.cases import as_tuple, case
from tests.support import assert_close, relative_error

OPTIONS = {
    "grad_cam": {"layer": "conv2"},
    "guided_grad_cam": {"layer": "conv1"},
    "integrated_gradients": {"n_steps": 4},
    "smooth_grad": {"n_samples": 3},
    "expected_gradients": {"n_samples": 3},
}


@pytest.mark.parametrize("method", rx.methods("relevance"))
def test_equals_single_targets(method):
    found = case("relu_module", torch.float64, 3)
    together = found.explainer.attribute(found.x, "all", method, **OPTIONS.get(method, {}))
    assert together.values.shape[:2] == (3, 4) and together.target == "all"
    for k in range(4):
        one = found.explainer.attribute(found.x, k, method, **OPTIONS.get(method, {}))
        assert_close(together.values[:, k], one.values, 1e-12, f"class {k}")
        if one.standard_error is not None:
            assert_close(together.standard_error[:, k], one.standard_error, 1e-12, f"standard error of class {k}")
        if one.base_value is not None:
            assert_close(together.base_value[:, k], one.base_value, 1e-12, f"base value of class {k}")


@pytest.mark.parametrize("name", ["resnet18", "densenet", "u_net_mean", "multihead_attention", "max_pool2d_25_taps"])
@pytest.mark.parametrize("rule", ["gradient", "guided_backprop", "deconvnet"])
def test_on_other_nets(name, rule):
    found = case("shufflenet_v2" if name == "u_net_mean" else name, torch.float64, 2)
    together = found.explainer.attribute(found.x, "all", rule).values
    for k in range(together.shape[1]):
        assert_close(together[:, k], found.explainer.attribute(found.x, k, rule).values, 1e-12, f"class {k}")


def test_several_inputs():
    found = case("image_and_vector", torch.float64, 2)
    together = found.explainer.attribute(found.x, "all", "guided_backprop").values
    assert isinstance(together, tuple)
    for k in range(4):
        one = found.explainer.attribute(found.x, k, "guided_backprop").values
        for a, b in zip(as_tuple(together), as_tuple(one), strict=True):
            assert_close(a[:, k], b, 1e-12, f"class {k}")


class _Packs(TorchDispatchMode):
    """Counts forward operators of the engine and the elements they make."""

    def __init__(self):
        super().__init__()
        self.calls, self.elements = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace == "reluxfast" and "pack" in func.overloadpacket.__name__:
            self.calls += 1
            self.elements += args[0].numel()
        return result


@pytest.mark.skipif(
    available_backends()["cpp"] is not None, reason=f"needs registered operators: {available_backends()['cpp']}"
)
def test_one_forward_pass_for_all_classes():
    found = case("vgg_bn", torch.float32, 2)
    counts = {}
    for target in (1, "all"):
        with _Packs() as packs, rx.backend("cpp"):
            result = found.explainer.attribute(found.x, target, "guided_backprop")
        counts[target] = (packs.calls, packs.elements, result.n_evaluations)
    assert counts[1][0] > 0
    assert counts["all"] == counts[1]


class _State(torch.nn.Module):
    """A recurrent state and an index made for the rows of the batch."""

    def __init__(self, recurrent: bool):
        super().__init__()
        self.recurrent = recurrent
        self.lstm, self.head = torch.nn.LSTM(5, 6, batch_first=True), torch.nn.Linear(6 if recurrent else 15, 4)

    def forward(self, x):
        if self.recurrent:
            return self.head(self.lstm(x)[0][:, -1])
        return self.head(torch.relu(x[torch.arange(x.shape[0])]).flatten(1))


@pytest.mark.parametrize("recurrent", [True, False])
def test_states_and_indices_made_for_the_batch(recurrent):
    torch.manual_seed(0)
    model, x = _State(recurrent).eval(), torch.randn(3, 3, 5)
    every = rx.gradient(model, x, target="all").values
    for k in range(4):
        assert relative_error(every[:, k], rx.gradient(model, x, target=k).values) < 1e-5  # float32
