"""Rules of ReLUs as rules of nodes, among others; and relevance that begins with any signal."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast as rx
from reluxfast import rules
from reluxfast.captured import captured
from reluxfast.explainer import attribute_captured
from tests.support import assert_close

NAMED = {"guided_backprop": rules.GuidedBackprop(), "deconvnet": rules.DeconvNet()}


class Net(nn.Module):
    def __init__(self, relu=torch.relu):
        super().__init__()
        self.conv, self.side, self.head = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 1), nn.Linear(12, 4)
        self.relu, self.pool = relu, nn.MaxPool2d(2)

    def forward(self, x):
        h = self.relu(self.conv(x))
        return self.head(self.pool(self.relu(self.side(h) + h)).flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Net().double().eval()


@pytest.fixture
def x():
    return torch.randn(3, 2, 6, 6, dtype=torch.float64)


def all_else(rule: rules.Rule, otherwise: rules.Rule | None = None):
    return lambda layer: rule if layer.kind == "activation" else otherwise or rules.Gradient()


@pytest.mark.parametrize("target", [1, "all"])
@pytest.mark.parametrize("name", NAMED)
def test_as_the_methods(net, x, name, target, backend):
    with rx.backend(backend):
        found = rx.lrp(net, x, target, composite=all_else(NAMED[name])).values
        expected = rx.lrp(net, x, target, composite=name).values
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("target", [1, "all"])
def test_beta_smooth_is_the_gradient_through_a_softplus(net, x, target, backend):
    """A ReLU forwards, sigmoid(βz) backwards."""

    class Smooth(torch.autograd.Function):
        @staticmethod
        def forward(context, z):
            context.save_for_backward(z)
            return z.clamp(min=0)

        @staticmethod
        def backward(context, g):
            (z,) = context.saved_tensors
            return g * torch.autograd.functional.vjp(lambda v: F.softplus(v, beta=3.0), z, torch.ones_like(z))[1]

    with rx.backend(backend):
        found = rx.lrp(net, x, target, composite=all_else(rules.BetaSmooth(3.0))).values
    twin = Net(Smooth.apply).double()
    twin.load_state_dict(net.state_dict())
    given = x.clone().requires_grad_()
    out = twin(given)
    classes = range(4) if target == "all" else [target]
    each = [torch.autograd.grad(out[:, k].square().sum() / 2, given, retain_graph=True)[0] for k in classes]
    assert_close(found, torch.stack(each, 1) if target == "all" else each[0], 1e-12)


@pytest.mark.parametrize("rule", [*NAMED.values(), rules.BetaSmooth()])
def test_between_rules_of_maps(net, x, rule, backend):
    """What arrives is relevance, whichever form it was carried in."""

    def composite(layer):
        if layer.kind in ("convolution", "linear"):
            return rules.Epsilon(1e-3)
        return all_else(rule)(layer)

    with rx.backend(backend):
        found = rx.lrp(net, x, 2, composite=composite, return_layers=["conv"])
    z = F.conv2d(x, net.conv.weight, net.conv.bias).detach().requires_grad_()
    h = z.clamp(min=0).detach().requires_grad_()
    z2 = (net.side(h) + h).detach()
    y = z2.clamp(min=0).requires_grad_()
    out = net.head(net.pool(y).flatten(1))[:, 2]
    r = y.detach() * torch.autograd.grad((out * (out / (out + 1e-3 * out.sign())).detach()).sum(), y)[0]
    r = gated(rule, r, z2).detach()
    side = net.side(h)
    q = r / (side + 1e-3 * (2 * (side >= 0).to(x) - 1)).detach()
    r = r + h.detach() * torch.autograd.grad((side * q).sum(), h)[0]
    assert_close(found.layers["conv"], gated(rule, r, z.detach()), 1e-10)


def gated(rule: rules.Rule, r: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    if isinstance(rule, rules.BetaSmooth):
        return r * torch.sigmoid(rule.beta * z)
    r = r.clamp(min=0)
    return r if isinstance(rule, rules.DeconvNet) else r * (z > 0)


def test_only_for_relu(x):
    for activation in (nn.Tanh(), nn.ReLU6(), nn.Hardtanh(-1, 1)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), activation, nn.Linear(3, 1)).double()
        with pytest.raises(rx.UnsupportedNode, match="cannot follow the rule GuidedBackprop"):
            rx.lrp(model, x, composite=all_else(rules.GuidedBackprop()))
    for beta in (-1.0, float("nan"), "10"):
        with pytest.raises(rx.InvalidInput, match="beta of BetaSmooth"):
            rules.BetaSmooth(beta)


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon_alpha2_beta1", rules.Zero()])
def test_a_signal_is_relevance(net, x, composite, backend):
    """That of one logit is what a target begins with; it is not lost where the output is 0."""
    known = captured(net, (x,))

    def one_logit(output, numbers):
        return output * torch.eye(4, dtype=output.dtype)[1]

    with rx.backend(backend):
        found = attribute_captured(known, x, None, "lrp", {"composite": composite}, seed=one_logit).values
        assert_close(found, rx.lrp(net, x, 1, composite=composite).values, 1e-10)
        if composite == "epsilon_plus_flat":
            with torch.no_grad():
                net.head.weight.zero_(), net.head.bias.zero_()
            seeds = torch.ones(3, 4, dtype=x.dtype)
            options = {"composite": lambda layer: rules.Flat() if layer.kind == "linear" else rules.Gradient()}
            found = attribute_captured(known, x, None, "lrp", options, seed=lambda _, rows: seeds[rows]).values
            assert float(found.abs().amax((1, 2, 3)).min()) > 0


def test_a_layer_names_its_value(net, x):
    names = []
    rx.lrp(net, x, 0, composite=lambda layer: names.append(layer.name) or rules.Gradient())
    nodes = captured(net, (x,)).engine().graph.nodes
    assert len(set(names)) == len(names) and set(names) <= set(nodes)
