"""The benchmarks' float64 reference against formulas written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import float64, models
from benchmarks.cases import CASES, build_model


def _network(seed: int) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    return model, torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 2])


@pytest.mark.parametrize("method", float64.METHODS)
def test_reference_is_the_product_of_gated_matrices(method):
    model, x, target = _network(0)
    w1, w2, w3 = (model[i].weight for i in (0, 2, 4))
    z1 = x @ w1.T + model[0].bias
    z2 = z1.clamp(min=0) @ w2.T + model[2].bias
    guided = method == "guided_backprop"

    def gate(g, z):
        return g * (z > 0) * ((g > 0) if guided else 1)

    expected = gate(gate(w3[target], z2) @ w2, z1) @ w1
    # float64 sums of at most seven terms
    torch.testing.assert_close(float64.reference(model, x, target, method), expected, rtol=1e-12, atol=1e-14)


def test_guided_reference_sees_functional_and_in_place_relus():
    case = CASES["resnet18"]
    x = models.images(2, 3, 32)
    target = torch.tensor([1, 2])
    found = [
        float64.reference(build_model(case, 32, tiny=True, functional=flag), x, target, "guided_backprop")
        for flag in (False, True)
    ]
    assert torch.equal(*found)
    gradient = float64.reference(build_model(case, 32, tiny=True), x, target, "gradient")
    assert float64.relative_l2(gradient, found[0]) > 0.5


def test_reference_leaves_model_and_input_alone():
    model, x, target = _network(1)
    model = model.float()
    before = [p.clone() for p in model.parameters()]
    float64.reference(model, x.float(), target, "guided_backprop")
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip(model.parameters(), before, strict=True))
    assert all(p.requires_grad and p.grad is None for p in model.parameters()) and model.training


def test_unknown_method_names_the_choices():
    model, x, target = _network(2)
    with pytest.raises(ValueError, match="gradient, guided_backprop expected, got 'saliency'"):
        float64.reference(model, x, target, "saliency")


def test_relative_l2_and_cosine():
    expected = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert float64.relative_l2(torch.tensor([3.0, 4.5]), expected) == pytest.approx(0.1)
    assert float64.relative_l2(torch.tensor([3.0, float("nan")]), expected) == float("inf")
    assert float64.relative_l2(torch.tensor([3.0, float("inf")]), expected) == float("inf")
    assert float64.cosine(torch.tensor([-4.0, 3.0]), expected) == pytest.approx(0.0, abs=1e-12)
