"""The rules on values small enough to check by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.oracles import gradient
from tests.oracles.rules import RULES, RuleActivation, rule_kit
from tests.zoo import CONSTRUCTS, SPELLINGS

Z = [2.0, 1.0, -1.0, -2.0, 0.0, -0.0, 7.0, 6.0]
G = [3.0, -4.0, 5.0, -6.0, 7.0, 8.0, 9.0, 10.0]
EXPECTED = {
    ("relu", "gradient"): [3, -4, 0, 0, 0, 0, 9, 10],
    ("relu", "guided_backprop"): [3, 0, 0, 0, 0, 0, 9, 10],
    ("relu", "deconvnet"): [3, 0, 5, 0, 7, 8, 9, 10],
    ("relu6", "gradient"): [3, -4, 0, 0, 0, 0, 0, 0],
    ("relu6", "guided_backprop"): [3, 0, 0, 0, 0, 0, 0, 0],
    ("relu6", "deconvnet"): [3, 0, 5, 0, 7, 8, 9, 10],
}


@pytest.mark.parametrize(("activation", "rule"), EXPECTED)
def test_rule_by_hand(activation, rule):
    z = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    y = getattr(rule_kit(rule), activation)()(z)
    y.backward(torch.tensor(G, dtype=torch.float64))
    assert y.tolist() == [min(max(v, 0.0), 6.0 if activation == "relu6" else math.inf) for v in Z]
    assert z.grad.tolist() == EXPECTED[activation, rule]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.5, 2.0), (-math.inf, 1.0)])
def test_other_bounds_keep_the_gradient_in_every_rule(rule, bounds):
    z = torch.tensor([-2.0, -1.0, -0.5, 0.5, 0.75, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    rule_kit(rule).hardtanh(*bounds)(z).backward(-torch.ones(7, dtype=torch.float64))
    assert z.grad.tolist() == [-1.0 if bounds[0] < v < bounds[1] else 0.0 for v in z.tolist()]


def test_nan_is_kept_forward():
    assert RuleActivation(0.0, math.inf, "gradient")(torch.tensor([math.nan])).isnan().all()


def test_unknown_rule_is_an_error():
    with pytest.raises(ValueError, match="unknown rule"):
        RuleActivation(0.0, 1.0, "guided")


# What torch's own autograd gives at exactly 0 (methods.md, section 1): the gate here is 0 for every spelling.
_TORCH_AT_ZERO = dict.fromkeys(SPELLINGS, 0.0) | {
    "x.clamp(min=0)": 1.0,
    "x.clamp(0)": 1.0,
    "x.clamp_(min=0)": 1.0,
    "torch.clip(x, min=0)": 1.0,
    "x.clamp_min(0)": 1.0,
    "x.clamp_min_(0)": 1.0,
    "torch.maximum(x, zeros_like)": 0.5,
    "torch.maximum(x, zeros(()))": 0.5,
    "torch.max(x, tensor(0))": 0.5,
    "torch.max(zeros, x)": 0.5,
    "torch.where(x < 0, 0, x)": 1.0,
    "x * (x >= 0)": 1.0,
    "x[x < 0] = 0": 1.0,
    "torch.fmax(x, tensor(0))": 1.0,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_where_torch_differs_at_exactly_zero(spelling):
    leaf = torch.zeros(1, requires_grad=True)
    (g,) = torch.autograd.grad(SPELLINGS[spelling](leaf * 1.0), leaf)
    assert g.item() == _TORCH_AT_ZERO[spelling]


def test_golden_gradient_times_input():
    """methods.md 3.2, row "0": W = [[3, -1], [1, 1]], seeded with ones, settings A, B and C all give [4, 0]."""
    w = torch.tensor([[3.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    for a, b in (([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0], [1.0, -1.0]), ([1.0, -2.0], [0.0, 0.0])):
        x = torch.tensor([a], dtype=torch.float64, requires_grad=True)
        out = torch.nn.functional.linear(x, w, torch.tensor(b, dtype=torch.float64))
        (g,) = torch.autograd.grad(out.sum(), x)
        assert (x * g).tolist() == [[4.0, 0.0]]


@pytest.mark.parametrize("name", ["relu_module", "vgg_bn", "resnet18", "densenet", "tied_linear", "u_net"])
def test_value_is_the_sum_of_input_and_bias_parts(name):
    """f(x) = Σ x_i ∂f/∂x_i + Σ_b b ∂f/∂b on ReLU and max-pool nets (methods.md 3.6)."""
    construct = CONSTRUCTS[name]
    model = construct.oracle(rule_kit("gradient"))
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.zero_()  # else the mean is one more bias
    x = torch.randn(1, *construct.shapes[0], dtype=torch.float64, requires_grad=True)
    biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
    f = gradient.select(model(x), construct.target).sum()
    grads = torch.autograd.grad(f, [x, *biases])
    total = sum(float((v * g).detach().sum()) for v, g in zip([x, *biases], grads, strict=True))
    assert total == pytest.approx(f.item(), rel=1e-11)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (1, [[1.0], [5.0]]),
        (-1, [[3.0], [7.0]]),
        ([2, 0], [[2.0], [4.0]]),
        (torch.tensor([3, 1]), [[3.0], [5.0]]),
    ],
)
def test_select_2d(target, expected):
    out = torch.arange(8.0).reshape(2, 4)
    assert gradient.select(out, target).tolist() == [v[0] for v in expected]


def test_select_more_dimensions():
    out = torch.arange(24.0).reshape(2, 3, 4)
    assert gradient.select(out, (1, 2)).tolist() == [6.0, 18.0]
    assert gradient.select(out, [(1, 2), (0, 3)]).tolist() == [6.0, 15.0]
    assert gradient.select(torch.tensor([[1.0], [2.0]]), None).tolist() == [1.0, 2.0]
    assert np.isscalar(gradient.select(torch.tensor([5.0]), None).item())
