"""LRP gives the same on the Triton backend as on the reference, on a small network with a residual sum."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.support import assert_close
from tests.zoo.registry import settle

BOX = rx.composite("epsilon_gamma_box", low=-3.0, high=3.0)
CASES = {
    "epsilon": {"composite": "epsilon"},
    "epsilon_plus": {"composite": "epsilon_plus"},
    "epsilon_alpha2_beta1": {"composite": "epsilon_alpha2_beta1"},
    "epsilon_gamma_box": {"composite": BOX},
    "epsilon_plus, bytes": {"composite": "epsilon_plus", "gates": "uint8"},
}


class Net(nn.Module):
    """A residual sum between ReLUs, a max pool, and a linear head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.mix = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12 * 16, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        return self.head(torch.relu(self.mix(x)).flatten(1))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return settle(Net(), 0).eval()


@pytest.mark.parametrize("target", [1, "all"], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_same_relevance(model, case, layout, target, launches):
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3)).to(memory_format=layout)
    results = {}
    for backend in ("reference", "triton"):
        launches.clear()
        with rx.backend(backend):
            results[backend] = rx.lrp(model, x, target, **CASES[case]).values
        names = {name for name, _ in launches}
        assert names >= ({"soft_gate_pack", "soft_gate"} if backend == "triton" else set()), names
        assert bool(names) == (backend == "triton")
    assert results["reference"].abs().max() > 0
    # The kernels' results are equal bit for bit; convolutions may be called in another layout.
    assert_close(results["triton"], results["reference"], 1e-5, case)
