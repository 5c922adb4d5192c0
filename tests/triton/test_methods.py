"""Every attribution method gives the same on the Triton backend as on the reference, on a small network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import ops
from tests.coalitions.support import network, rows
from tests.support import assert_close
from tests.zoo.registry import settle

OPTIONS = {
    "grad_cam": {"layer": "mix"},
    "guided_grad_cam": {"layer": "mix"},
    "integrated_gradients": {"n_steps": 3},
    "smooth_grad": {"n_samples": 2, "seed": 1},
    "expected_gradients": {"n_samples": 2, "seed": 1},
}


class Net(nn.Module):
    """Max pools with and without overlap, a residual sum, ReLU and ReLU6."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1))
        self.mix = nn.Conv2d(8, 12, 1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.head = nn.Linear(12 * 9, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        x = self.pool(nn.functional.relu(self.mix(x)))
        return self.head(x.flatten(1))


@pytest.fixture(scope="module")
def explainer() -> rx.Explainer:
    return rx.Explainer(settle(Net(), 0).eval(), torch.zeros(2, 3, 9, 9))


@pytest.mark.parametrize("target", [1, "all"], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("method", rx.methods("relevance"))
def test_same_attributions(explainer, method, layout, target, launches):
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(3)).to(memory_format=layout)
    results = {}
    for backend in ("reference", "triton"):
        before = len(launches)
        with rx.backend(backend):
            results[backend] = explainer.attribute(x, target=target, method=method, **OPTIONS.get(method, {}))
        assert (len(launches) > before) == (backend == "triton")
    got, want = results["triton"], results["reference"]
    # The kernels' results are equal bit for bit; convolutions may be called in another layout.
    assert_close(got.values, want.values, 1e-5, method)
    assert_close(got.output, want.output, 1e-5, "output")


def test_every_op_was_used(explainer, launches):
    with rx.backend("triton"):
        explainer.attribute(torch.randn(2, 3, 9, 9), target=1, method="guided_backprop")
    assert {name for name, _ in launches} == {"relu_pack", "gate", "max_pool_pack", "max_pool_scatter"}


def test_permutation_shapley_walks_chains(launches):
    model, x, results = network(6), rows(2, 6), {}
    for backend in ("reference", "triton"):
        with rx.backend(backend):
            results[backend] = rx.shapley(
                model, x, rows(3, 6, 2), estimator="permutation", target="all", n_evaluations=61, seed=1
            )
    assert "mlp_chains" in {name for name, _ in launches}
    assert_close(results["triton"].values, results["reference"].values, 1e-5, "values")
    assert_close(results["triton"].standard_error, results["reference"].standard_error, 1e-5, "standard_error")


def test_validate_includes_triton(explainer, launches):
    report = rx.validate(explainer, torch.randn(2, 3, 9, 9), methods=["guided_backprop"])
    assert launches and "triton" in {row.backend for row in report.rows} and report.ok, str(report)
    assert ops.active_backend() == "auto"
