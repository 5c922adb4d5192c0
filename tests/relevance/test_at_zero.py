"""The gate is open only strictly between the bounds, for every spelling (methods.md, section 1)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.relevance.cases import BACKENDS
from tests.zoo import INPLACE_MODULES, MODULES, SPELLINGS, spelled
from tests.zoo.registry import settle
from tests.zoo.spellings import BareRelu

X = torch.tensor([[0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30], [0.0, 2.0, 0.0, -0.0, -3.0, 0.5]])
KITS = {"nn.ReLU": MODULES, "nn.ReLU(inplace=True)": INPLACE_MODULES} | {k: spelled(f) for k, f in SPELLINGS.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spelling", KITS)
def test_relu_at_zero(spelling, dtype):
    model = settle(BareRelu(KITS[spelling]), 0).to(dtype).eval()
    x = X.to(dtype)
    explainer = rx.Explainer(model, x)
    w = model.fc.weight[1].detach().expand_as(x)
    expected = {
        "gradient": torch.where(x > 0, w, 0),
        "guided_backprop": torch.where((x > 0) & (w > 0), w, 0),
        "deconvnet": torch.where(w > 0, w, 0),
    }
    for backend in BACKENDS:
        for method, values in expected.items():
            with rx.backend(backend):
                found = explainer.attribute(x, target=1, method=method).values
            assert torch.equal(found, values), (backend, method, found, values)


@pytest.mark.parametrize(
    ("act", "lo", "hi"),
    [
        (nn.ReLU6(), 0.0, 6.0),
        (nn.Hardtanh(), -1.0, 1.0),
        (nn.Hardtanh(0.0, 2.0), 0.0, 2.0),
        (nn.Hardtanh(-0.5, 3.0, inplace=True), -0.5, 3.0),
    ],
    ids=str,
)
def test_bounds_are_closed_gates(act, lo, hi):
    class Bounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.fc = act, nn.Linear(5, 2)

        def forward(self, x):
            return self.fc(self.act(x * 1.0))

    model = settle(Bounded(), 0).eval()
    x = torch.tensor([[lo, hi, (lo + hi) / 2, lo - 1, hi + 1]])
    expected = torch.where((x > lo) & (x < hi), model.fc.weight[1].detach(), 0)
    for backend in BACKENDS:
        with rx.backend(backend):
            assert torch.equal(rx.gradient(model, x, target=1).values, expected), backend


def test_pool_ties_go_to_the_first_element():
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    x = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[0.0, 2.0], [2.0, 2.0]]]])
    for backend in BACKENDS:
        with rx.backend(backend):
            values = rx.gradient(model, x, target=0).values
        assert values.flatten(1).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]], backend


def test_dead_window_under_deconvnet_goes_to_the_first_element():
    """All pre-activations of a window below 0: the pooled zeros tie, and deconvnet has no forward gate."""
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    x = torch.tensor([[[[-1.0, -0.5], [-2.0, -3.0]]]])
    for backend in BACKENDS:
        with rx.backend(backend):
            assert rx.deconvnet(model, x, target=0).values.flatten().tolist() == [1, 0, 0, 0], backend
            assert rx.gradient(model, x, target=0).values.flatten().tolist() == [0, 0, 0, 0], backend
