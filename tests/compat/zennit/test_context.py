"""`composite.context(model)`: a model whose gradient is relevance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast.compat.zennit as ours
from tests import peers
from tests.compat.zennit.pair import named, networks, signal, theirs
from tests.support import assert_close, assert_untouched, fingerprint, relative_error


@pytest.mark.parametrize("name", ["epsilon_plus_flat", "guided_backprop", "excitation_backprop", "beta_smooth"])
@pytest.mark.parametrize("model", ["vgg_bn", "resnet_bn"])
def test_autograd_outside_and_inside(model, name):
    x = peers.rows(model)
    found = []
    for p, network in zip((ours, theirs), networks(model), strict=True):
        given = x.clone().requires_grad_()
        composite = named(p, name, x)
        with composite.context(network) as modified:
            output = modified(given)
            relevance = torch.autograd.grad(output, given, signal(x), retain_graph=True)[0]
            with composite.inactive():
                plain = torch.autograd.grad(output, given, signal(x), retain_graph=True)[0]
            (output * signal(x)).sum().backward()
        found.append((output.detach(), relevance, plain, given.grad))
    for mine, other in zip(*found, strict=True):
        assert_close(mine, other, 1e-9)
    assert relative_error(found[0][1], found[0][2]) > 0.01
    assert_close(found[0][3], found[0][1], 0)


def test_second_derivative():
    x = peers.rows("resnet_bn")
    found = []
    for p, network in zip((ours, theirs), networks("resnet_bn"), strict=True):
        given = x.clone().requires_grad_()
        composite = named(p, "epsilon_plus", x)
        with composite.context(network) as modified:
            output = modified(given)
            relevance = torch.autograd.grad(output, given, output, create_graph=True)[0]
            with composite.inactive():
                found.append(torch.autograd.grad(relevance.square().sum(), given)[0])
    assert_close(*found, 1e-9)


def test_in_front_of_it_gradients_go_on():
    x = peers.rows("vgg_bn")
    model = networks("vgg_bn")[0]
    scale = torch.ones(1, 3, 1, 1, dtype=x.dtype, requires_grad=True)
    composite = named(ours, "epsilon_plus", x)
    with composite.context(model) as modified:
        modified(x * scale)[:, 1].sum().backward()
    seed = torch.eye(4, dtype=x.dtype)[[1, 1, 1]]
    relevance = ours.Gradient(model, composite)(x, seed)[1]
    assert_close(scale.grad, (relevance * x).sum((0, 2, 3), keepdim=True), 1e-12)


def test_an_attributor_takes_it():
    x = peers.rows("vgg_bn")
    model = networks("vgg_bn")[0]
    composite = named(ours, "epsilon_plus", x)
    with composite.context(model) as modified:
        found = ours.Gradient(modified)(x, signal(x))[1]
    assert_close(found, ours.Gradient(model, composite)(x, signal(x))[1], 0)


class Two(nn.Module):
    def __init__(self, add: nn.Module):
        super().__init__()
        self.a, self.b, self.add, self.act = nn.Linear(3, 4), nn.Linear(5, 4), add, nn.ReLU()
        self.head = nn.Linear(4, 2)

    def forward(self, x, y):
        return self.head(self.act(self.add(self.a(x), self.b(y))))


def test_several_inputs():
    torch.manual_seed(0)
    pair = Two(peers.Plus()).double(), Two(peers.Stacked()).double()
    pair[1].load_state_dict(pair[0].state_dict())
    x, y = (torch.randn(4, d, dtype=torch.float64, requires_grad=True) for d in (3, 5))
    found = []
    for p, network in zip((ours, theirs), pair, strict=True):
        with p.EpsilonPlusFlat().context(network) as modified:
            found.append(torch.autograd.grad(modified(x, y), (x, y), signal(x, 2)))
    for mine, other in zip(*found, strict=True):
        assert_close(mine, other, 1e-9)


def test_the_model_itself_is_not_changed():
    x = peers.rows("vgg_bn").requires_grad_()
    model = networks("vgg_bn")[0]
    before = fingerprint(model)
    composite = named(ours, "epsilon_plus", x.detach())
    with composite.context(model) as modified:
        plain = torch.autograd.grad(model(x).sum(), x)[0]
        relevance = torch.autograd.grad(modified(x).sum(), x)[0]
        assert_untouched(before, model)
    assert relative_error(relevance, plain) > 0.1
    with pytest.raises(NotImplementedError, match="read 'features' from the model itself"):
        _ = modified.features


def test_hooks_are_refused():
    composite = ours.EpsilonPlus()
    with pytest.raises(NotImplementedError, match=r"composite\.context\(model\)"):
        composite.register(nn.Linear(2, 2))
    composite.remove()


def test_inactive_counts():
    x = peers.rows("vgg_bn")
    model = networks("vgg_bn")[0]
    attributor = ours.Gradient(model, ours.GuidedBackprop())
    plain, guided = ours.Gradient(model)(x)[1], attributor(x)[1]
    with attributor.inactive(), attributor.inactive():
        assert_close(attributor(x)[1], plain, 0)
    with pytest.raises(ZeroDivisionError), attributor.inactive():
        raise ZeroDivisionError
    assert_close(attributor(x)[1], guided, 0)
