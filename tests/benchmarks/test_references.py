"""The float64 references against formulas written out by hand, and against each other."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps import CASES, float64, references
from reluxfast.benchmarks.maps.networks import NETWORKS, build_model
from reluxfast.benchmarks.maps.problem import LRP_COMPOSITES, make
from reluxfast.benchmarks.maps.weights import images


def _network(seed: int) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    return model, torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 2])


def _by_matrices(model, x, target, method):
    w1, w2, w3 = (model[i].weight for i in (0, 2, 4))
    z1 = x @ w1.T + model[0].bias
    z2 = z1.clamp(min=0) @ w2.T + model[2].bias

    def gate(g, z):
        passes = {"gradient": z > 0, "guided_backprop": (z > 0) & (g > 0), "deconvnet": g > 0}
        return g * passes[method]

    return gate(gate(w3[target], z2) @ w2, z1) @ w1


@pytest.mark.parametrize("method", float64.METHODS)
def test_attribution_is_the_product_of_gated_matrices(method):
    model, x, target = _network(0)
    expected = _by_matrices(model, x, target, method)
    # float64 sums of at most seven terms
    torch.testing.assert_close(float64.attribution(model, x, target, method), expected, rtol=1e-12, atol=1e-14)


def test_integrated_gradients_is_the_weighted_sum_along_the_path():
    model, x, target = _network(1)
    nodes, weights = (0.0, 0.25, 1.0), (0.5, 0.2, 0.3)
    expected = x * sum(w * _by_matrices(model, t * x, target, "gradient") for t, w in zip(nodes, weights, strict=True))
    found = float64.integrated_gradients(model, x, target, nodes, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_quadratures():
    nodes, weights = references.gauss_legendre(2)  # the textbook's points, on 0..1
    np.testing.assert_allclose(nodes, [(1 - 1 / math.sqrt(3)) / 2, (1 + 1 / math.sqrt(3)) / 2])
    np.testing.assert_allclose(weights, [0.5, 0.5])
    nodes, weights = references.right_riemann(4)
    np.testing.assert_allclose((nodes, weights), [[0.25, 0.5, 0.75, 1.0], [0.25] * 4])


def test_grad_cam_is_the_rectified_sum_of_weighted_maps():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).double()
    x, target = torch.randn(5, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    a = model[:2](x)
    g = model[3].weight[target].reshape(5, 3, 4, 4)
    expected = torch.einsum("nc,nchw->nhw", g.mean((2, 3)), a).clamp(min=0)[:, None]
    found = float64.grad_cam(model, x, target, "1")
    assert (expected == 0).any() and (expected > 0).any()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_scaled_maps_by_hand():
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]], dtype=torch.float64)
    # rows of the 1-D interpolation 2 -> 4 with half-pixel centres
    up = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]], dtype=torch.float64)
    expected = torch.stack([up @ (maps[0, 0] / (4 + 1e-7)) @ up.T, torch.zeros(4, 4, dtype=torch.float64)])
    expected[0] /= 1e-7 + expected[0].max()
    torch.testing.assert_close(references.scaled(maps, (4, 4)), expected, rtol=1e-12, atol=1e-14)


def test_scaled_maps_begin_at_zero():
    maps = torch.tensor([[[[3.0, 5.0], [4.0, 3.0]]]], dtype=torch.float64)
    found = references.scaled(maps, (8, 8))
    assert found.min() == 0 and found.max() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(found, references.scaled(maps - 3, (8, 8)))


RELUS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu by name": lambda x: F.relu(input=x, inplace=True),
    "method": lambda x: x.relu(),
    "result ignored": lambda x: (x.relu_(), x)[1],
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "threshold_": lambda x: F.threshold_(x, 0, 0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_": lambda x: x.clamp_(0),
    "clip": lambda x: torch.clip(x, 0, None),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "aten": lambda x: torch.ops.aten.relu.default(x),
    "aten in place": lambda x: (torch.ops.aten.relu_.default(x), x)[1],
}


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize("name", RELUS)
def test_every_call_of_a_relu_is_seen(name, method):
    model, x, target = _network(3)

    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = model[0], model[2], model[4]

        def forward(self, x):
            return self.last(RELUS[name](self.second(RELUS[name](self.first(x)))))

    expected = _by_matrices(model, x, target, method)
    torch.testing.assert_close(float64.attribution(Called(), x, target, method), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "bounded", [nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 6), lambda x: x.clamp(0, 6), F.relu6]
)
def test_bounded_relus_are_closed_above(bounded):
    z = torch.tensor([[-1.0, 2.0, 7.0, 2.0]], dtype=torch.float64)
    signal = nn.Linear(4, 1, bias=False).double()
    signal.weight.data = torch.tensor([[1.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    model = nn.Sequential(nn.Identity(), signal)
    model.forward = lambda x: signal(bounded(x + 0))
    found = float64.attribution(model, z, torch.tensor([0]), "guided_backprop")
    assert found.tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("other", [lambda x: x.clamp(-1, 1), lambda x: F.threshold(x, 0.5, 0.0), nn.Hardtanh()])
def test_what_is_no_relu_keeps_its_gradient(other):
    x = torch.tensor([[-0.7, 0.7]], dtype=torch.float64)
    model = nn.Identity()
    model.forward = lambda x: -other(x + 0).sum(1, keepdim=True)
    label = torch.tensor([0])
    found = [float64.attribution(model, x, label, method) for method in ("gradient", "guided_backprop")]
    assert torch.equal(*found) and (found[0] < 0).any()


@cache
def _digits():
    network = NETWORKS["digits"]
    return build_model(network, 8, tiny=True), images(4, 1, 8), torch.tensor([1, 2, 7, 2])


def _exported(batch: str) -> fx.GraphModule:
    model, x, _ = _digits()
    shapes = ({0: torch.export.Dim("batch", min=1)},) if batch == "dynamic" else None
    return torch.export.export(model, (x,), dynamic_shapes=shapes).module()


@pytest.mark.parametrize("method", [*float64.METHODS, "integrated_gradients", "grad_cam"])
def test_an_exported_program_has_the_reference_of_its_model(method):
    model, x, target = _digits()

    def of(module):
        if method == "grad_cam":
            return float64.grad_cam(module, x, target, "features.6")
        if method == "integrated_gradients":
            return float64.integrated_gradients(module, x, target, *references.gauss_legendre(2))
        return float64.attribution(module, x, target, method)

    assert torch.equal(of(_exported("dynamic")), of(model))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_an_exported_program_of_one_batch_size_is_given_that_batch(method):
    model, x, target = _digits()
    found = float64.attribution(_exported("constant"), x, target, method)
    # four rows at once, in other blocks of the same products
    torch.testing.assert_close(found, float64.attribution(model, x, target, method), rtol=1e-10, atol=1e-14)


def test_a_program_without_the_layer_says_so():
    _, x, target = _digits()
    with pytest.raises(ValueError, match=r"exported program expected, got 'features\.99'"):
        float64.grad_cam(_exported("dynamic"), x, target, "features.99")


def test_functional_relus_have_the_reference_of_modules():
    x, target = images(2, 3, 32), torch.tensor([1, 2])
    twins = [build_model(NETWORKS["resnet18"], 32, tiny=True, functional=flag) for flag in (False, True)]
    found = [float64.attribution(model, x, target, "guided_backprop") for model in twins]
    assert torch.equal(*found)
    gradient = float64.attribution(twins[0], x, target, "gradient")
    assert float64.relative_l2(gradient, found[0]) > 0.5


def test_references_leave_model_and_input_alone():
    model, x, target = _network(4)
    model, x = model.float(), x.float()
    before = [t.clone() for t in (x, *model.parameters())]
    float64.attribution(model, x, target, "guided_backprop")
    float64.integrated_gradients(model, x, target, [1.0], [1.0])
    assert all(
        torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip((x, *model.parameters()), before, strict=True)
    )
    assert all(p.requires_grad and p.grad is None for p in model.parameters()) and model.training
    assert not x.requires_grad
    model, x, target = _digits()
    float64.grad_cam(model, x, target, "features.6")
    assert not x.requires_grad and not any(m._forward_hooks for m in model.modules())


def test_unknown_names_say_the_choices():
    model, x, target = _network(5)
    with pytest.raises(ValueError, match="gradient, guided_backprop, deconvnet expected, got 'saliency'"):
        float64.attribution(model, x, target, "saliency")
    with pytest.raises(ValueError, match=r"gradient, .*grad_cam_scaled.* expected, got 'saliency'"):
        references.reference(_problem("digits", "gradient"), "saliency")


def test_relative_l2_and_cosine():
    expected = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert float64.relative_l2(torch.tensor([3.0, 4.5]), expected) == pytest.approx(0.1)
    assert float64.relative_l2(torch.tensor([3.0, float("nan")]), expected) == float("inf")
    assert float64.relative_l2(torch.tensor([3.0, float("inf")]), expected) == float("inf")
    assert float64.relative_l2(torch.zeros(2), 0 * expected) == 0
    assert float64.relative_l2(torch.tensor([0.0, 1e-30]), 0 * expected) == float("inf")
    assert float64.relative_l2(torch.tensor([0.0, float("nan")]), 0 * expected) == float("inf")
    assert float64.cosine(torch.tensor([-4.0, 3.0]), expected) == pytest.approx(0.0, abs=1e-12)


@cache
def _problem(network: str, method: str):
    smaller = replace(NETWORKS[network], tiny_size=16 if network == "resnet18" else 8)  # matrices grow with its square
    axes = CASES[f"{network}/{method}"].axes
    return make(axes, Conditions(tiny=True), network=smaller, method=method)


@pytest.mark.parametrize("name", LRP_COMPOSITES)
@pytest.mark.parametrize("network", ["digits", "resnet18"])
def test_references_of_lrp_agree_with_each_other(network, name):
    """Explicit matrices against the engine's float64: two programs, one definition."""
    p = _problem(network, name)
    by_matrices, by_engine = references.by_matrices(p, name), references.by_engine(p, name)
    assert by_matrices.dtype == by_engine.dtype == torch.float64 and by_engine.shape == p.x.shape
    # sums of float64 through 20 layers of a network that amplifies them: at most 2e-13 seen
    assert float64.relative_l2(by_engine, by_matrices) < 1e-11


def test_matrices_are_for_small_copies_where_the_tests_are_at_hand(monkeypatch):
    p, asked = _problem("digits", "epsilon"), []
    for name in ("by_matrices", "by_engine"):
        monkeypatch.setattr(references, name, lambda problem, computes, name=name: asked.append(name))
    references.reference(p, "epsilon")
    monkeypatch.setattr(references, "_oracle", lambda: None)
    references.reference(p, "epsilon")
    monkeypatch.undo()
    assert asked == ["by_matrices", "by_engine"]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_reference_is_that_of_the_rounded_weights_and_images(dtype):
    case = CASES["digits/guided_backprop"]
    p = case.make({**case.axes, "dtype": dtype}, Conditions(tiny=True))
    assert p.x.dtype == p.dtype == next(p.model.parameters()).dtype
    wide = [t.double() for t in (p.x, *p.model.parameters())]
    expected = float64.attribution(p.model.double(), wide[0], p.target, "guided_backprop")
    assert torch.equal(references.reference(p, "guided_backprop"), expected)
