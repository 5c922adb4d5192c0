"""Integrated gradients against the formula, and its completeness."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.oracles import gradient, paths
from tests.oracles.rules import rule_kit
from tests.relevance.cases import as_tuple, case
from tests.support import assert_close
from tests.zoo import CONSTRUCTS

QUADRATURES = ("midpoint", "trapezoid", "gauss_legendre", "right_riemann")


def _expected(construct, x, baseline, quadrature, n, target):
    model = construct.oracle(rule_kit("gradient"))
    return paths.integrated_gradients(lambda at: gradient.reverse(model, at, target), x, baseline, quadrature, n)


@pytest.mark.parametrize("quadrature", QUADRATURES)
@pytest.mark.parametrize("name", ["relu_module", "resnet18", "image_and_vector", "hardswish", "written_attention"])
@pytest.mark.parametrize("n", [2, 7])
def test_against_the_formula(name, quadrature, n):
    found = case(name, torch.float64)
    target = found.construct.target
    zero = tuple(torch.zeros_like(x) for x in found.inputs)
    expected = _expected(found.construct, found.inputs, zero, quadrature, n, target)
    result = found.attribute("integrated_gradients", n_steps=n, quadrature=quadrature)
    for v, e in zip(as_tuple(result.values), expected, strict=True):
        assert_close(v, e, 1e-12, quadrature)
    base = gradient.select(gradient.output(found.construct, zero), target)
    assert_close(result.base_value, base, 1e-12, "base value")
    gap = sum(v.flatten(1).sum(1) for v in as_tuple(result.values)) - (gradient.select(result.output, target) - base)
    assert (result.options["completeness_gap"] - gap).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["number", "row", "row with batch axis", "batch"])
def test_baselines(kind):
    found = case("relu_module", torch.float64, 3)
    row = torch.randn(3, 8, 8).double()
    given = {"number": 0.25, "row": row, "row with batch axis": row[None], "batch": torch.randn(3, 3, 8, 8).double()}
    baseline = given[kind]
    full = torch.as_tensor(baseline, dtype=torch.float64).expand(3, 3, 8, 8)
    expected = _expected(found.construct, found.inputs, (full,), "midpoint", 5, 1)
    result = found.attribute("integrated_gradients", n_steps=5, baseline=baseline)
    assert_close(result.values, expected[0], 1e-12, kind)
    assert_close(result.base_value, gradient.output(found.construct, (full,))[:, 1], 1e-12)


def test_baselines_of_several_inputs():
    found = case("image_and_vector", torch.float64)
    base = (0.5, torch.randn(5).double())
    full = tuple(torch.as_tensor(b, dtype=torch.float64).expand_as(x) for b, x in zip(base, found.inputs, strict=True))
    expected = _expected(found.construct, found.inputs, full, "midpoint", 4, 1)
    for v, e in zip(found.attribute("integrated_gradients", n_steps=4, baseline=base).values, expected, strict=True):
        assert_close(v, e, 1e-12)


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_completeness(quadrature):
    """Σ values → f(x) - f(x') like 1/n on a ReLU net: 2000 points leave less than 1e-3 of the difference's scale."""
    found = case("mlp", torch.float64, 3)
    n = 2000 if quadrature != "gauss_legendre" else 400
    result = found.attribute("integrated_gradients", n_steps=n, quadrature=quadrature)
    difference = result.output[:, 1] - result.base_value
    gap = result.values.sum(1) - difference
    assert gap.abs().max() < 1e-2 * difference.abs().max()
    assert (result.options["completeness_gap"] - gap).abs().max() < 1e-12
    coarse = found.attribute("integrated_gradients", n_steps=5, quadrature=quadrature)
    assert coarse.options["completeness_gap"].abs().max() > gap.abs().max()


def test_completeness_is_exact_on_linear_models():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    x = torch.randn(4, 3, 4).double()
    for quadrature in QUADRATURES:
        result = rx.integrated_gradients(model, x, target=2, n_steps=3, quadrature=quadrature, baseline=-0.3)
        assert result.options["completeness_gap"].abs().max() < 1e-13
        assert_close(result.values.flatten(1), (x + 0.3).flatten(1) * model[1].weight[2].detach(), 1e-13)


def test_golden_net():
    """methods.md, section 5: f = relu(relu(x1) + 2 relu(x2 - 1/2) - 3/4) at (1, 1) gives (0.41667, 0.83333)."""

    class Golden(nn.Module):
        def forward(self, x):
            a, b = x[:, 0], x[:, 1]
            return torch.relu(torch.relu(a) + 2 * torch.relu(b - 0.5) - 0.75)

    result = rx.integrated_gradients(Golden(), torch.ones(1, 2).double(), n_steps=1200)
    # Breakpoints 1/2 and 7/12 lie on borders of 1200 equal cells, so the midpoint rule is exact.
    assert_close(result.values, torch.tensor([[5 / 12, 10 / 12]], dtype=torch.float64), 1e-12)
    assert_close(rx.input_x_gradient(Golden(), torch.ones(1, 2).double()).values, torch.tensor([[1.0, 2.0]]), 1e-15)


def test_n_steps_do_not_change_by_batching():
    """Many points are split into several walks: same values to rounding."""
    construct = CONSTRUCTS["relu_module"]
    x = torch.randn(2, 3, 8, 8).double()
    zero = (torch.zeros_like(x),)
    expected = _expected(construct, (x,), zero, "midpoint", 64, 1)
    for budget in (None, 200_000, 20_000):
        explainer = rx.Explainer(construct.model(torch.float64), x, memory_budget=budget)
        values = explainer.attribute(x, 1, "integrated_gradients", n_steps=64).values
        assert_close(values, expected[0], 1e-12, f"budget {budget}")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": 2.5}, "n_steps"),
        ({"n_steps": 1, "quadrature": "trapezoid"}, "n_steps"),
        ({"quadrature": "simpson"}, "quadrature"),
        ({"baseline": torch.zeros(5)}, "baseline"),
        ({"baseline": True}, "baseline"),
        ({"baseline": "zeros"}, "baseline"),
        ({"baseline": (0.0, 0.0)}, "baseline"),
    ],
    ids=str,
)
def test_wrong_options(options, argument):
    found = case("relu_module", torch.float64)
    with pytest.raises(rx.InvalidInput) as raised:
        found.attribute("integrated_gradients", **options)
    assert raised.value.argument == argument
