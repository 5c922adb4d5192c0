"""rx.validate must find what is wrong, say where, and not be fooled by a ReLU that rounding flips."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import ops
from reluxfast.coalitions.mlp import Perceptron, PerceptronChains, serves
from reluxfast.validate import relative_error


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6 * 16, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv1(x)))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.head(x.flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return _Net().eval()


@pytest.fixture
def images():
    return torch.randn(3, 1, 8, 8)


def test_all_methods_on_all_backends(net, images):
    report = rx.validate(net, images)
    assert report.ok, str(report)
    assert {row.method for row in report.rows} == {*rx.methods("relevance"), "shapley", "output"}
    there = {name for name, reason in ops.available_backends("cpu").items() if reason is None}
    assert {row.backend for row in report.rows} == there
    assert {row.layer for row in report.rows if row.method == "gradient"} > {""}  # layer by layer
    table = str(report)
    assert "worst rel. error" in table and "WRONG" not in table


@pytest.mark.parametrize("broken", ["gate", "max_pool_scatter", "relu_pack"])
def test_a_broken_kernel_is_found(net, images, monkeypatch, broken):
    """One wrong element of one operator, on one backend, is enough."""
    if ops.available_backends()["cpp"] is not None:
        pytest.skip(f"needs two backends: {ops.available_backends()['cpp']}")
    for name in (broken, f"{broken}_"):
        right = getattr(ops, name, None)
        if right is not None:
            monkeypatch.setattr(ops, name, _wrong_on_cpp(right))
    report = rx.validate(net, images, methods=["gradient"])
    assert not report.ok and "WRONG" in str(report)
    assert {row.backend for row in report.rows if not row.ok} == {"cpp"}


def _wrong_on_cpp(right):
    def wrong(x, *args, **kwargs):
        result = right(x, *args, **kwargs)
        changed = x if result is None else result[0] if isinstance(result, tuple) else result
        if changed.dtype == torch.uint8:
            changed = x  # the in-place form returns the mask
        if ops.active_backend() == "cpp":
            changed[0, 0] += 1e-2
        return result

    return wrong


def test_wrong_weights_in_the_engine_are_found(net, images, monkeypatch):
    from reluxfast.relevance.maps import ConvMap

    right = ConvMap.backward
    monkeypatch.setattr(
        ConvMap, "backward", lambda self, g, s: right(self, g, s) * (1 + 1e-4 * (g.dtype != torch.float64))
    )
    report = rx.validate(net, images, methods=["guided_backprop"])
    assert not report.ok


def test_flipped_gates_are_counted_not_blamed():
    """Pre-activations of float32 rounding size: float64 finds other gates, the arithmetic is still right."""
    torch.manual_seed(0)
    first = nn.Linear(64, 512, bias=False)
    net = nn.Sequential(first, nn.ReLU(), nn.Linear(512, 2))
    x = torch.randn(4, 64)
    with torch.no_grad():  # make every row of the weight orthogonal to x[0], up to rounding
        first.weight -= (first.weight @ x[0])[:, None] * x[0] / x[0].square().sum()
    report = rx.validate(net, x, methods=["gradient"])
    assert report.ok, str(report)
    assert max(row.flipped_gates for row in report.rows) > 0


def test_rtol_methods_and_errors(net, images):
    assert not rx.validate(net, images, methods=["gradient"], rtol=1e-12).ok
    assert {r.method for r in rx.validate(net, images, methods=["deconvnet"]).rows} == {"deconvnet"}
    with pytest.raises(rx.InvalidInput, match="methods"):
        rx.validate(net, images, methods=["nonsense"])
    with pytest.raises(rx.InvalidInput):
        rx.validate(rx.Explainer(net, images), torch.randn(3, 1, 9, 9))
    with pytest.raises(rx.InvalidInput, match=r"x must hold at least one row to compare, got \(0, 1, 8, 8\)"):
        rx.validate(net, images[:0])


def test_relative_error():
    one = torch.tensor([1.0, 2.0])
    assert relative_error([one], [one]) == 0
    assert relative_error([one + 0.2], [one]) == pytest.approx(0.1)
    assert relative_error([one], [torch.zeros(2)]) == float("inf")
    assert relative_error([torch.zeros(2)], [torch.zeros(2)]) == 0
    nan = relative_error([torch.tensor([float("nan"), 2.0])], [one])
    assert nan != nan and not rx.ReportRow("m", "b", "", nan, 1e-5, 0.0).ok
    assert relative_error([torch.empty(0)], [torch.empty(0)]) == 0


def test_sampled_orders_that_are_wrong_are_noticed(monkeypatch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    x = torch.randn(2, 20)
    assert rx.validate(model, x, ["shapley"]).ok
    pairs = PerceptronChains.pairs

    def off(self, *arguments):
        found = pairs(self, *arguments)
        return found * 1.001 if ops.active_backend() != "reference" else found

    monkeypatch.setattr(PerceptronChains, "pairs", off)
    report = rx.validate(model, x, ["shapley"])
    wrong = {row.backend for row in report.rows if not row.ok}
    assert wrong == {row.backend for row in report.rows if row.backend != "reference" and walks_chains(row.backend)}
    assert wrong


def walks_chains(backend):
    """Whether a backend has the kernel that is off; others write coalitions out."""
    with ops.backend(backend):
        return serves(Perceptron((torch.zeros(16, 20), torch.zeros(3, 16)), (torch.zeros(16), torch.zeros(3))))
