"""Networks that write operations out: ours on them is Zennit's on the same network made of modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast as rx
import reluxfast.compat.zennit as ours
from tests import peers
from tests.compat.zennit.pair import NAMED, judge, named, networks, signal, theirs
from tests.support import assert_close


class Written(nn.Module):
    """Every operation but the weighted ones is a function; the second ReLU is one module, used twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.fc1, self.fc2 = nn.ReLU(inplace=True), nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x):
        h = F.max_pool2d(F.relu(self.conv1(x)), 2)
        h = self.relu(self.conv2(h) + h)
        h = F.avg_pool2d(h, 2).mean((2, 3))
        return self.fc2(self.relu(self.fc1(h)))


class Modules(nn.Module):
    """`Written`, as Zennit needs it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.fc1, self.fc2 = nn.ReLU(), nn.Linear(4, 6), nn.Linear(6, 4)
        self.relu1, self.relu2, self.pool = nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)
        self.add, self.average, self.mean = peers.Stacked(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        h = self.pool(self.relu1(self.conv1(x)))
        h = self.relu2(self.add(self.conv2(h), h))
        h = self.mean(self.average(h)).flatten(1)
        return self.fc2(self.relu(self.fc1(h)))


class Weights(nn.Module):
    """Weighted operations as functions too."""

    def __init__(self, like: nn.Module):
        super().__init__()
        names = ("conv1", "conv2", "fc1", "fc2")
        for name in names:
            layer = getattr(like, name)
            self.register_parameter(name + "_w", layer.weight)
            self.register_parameter(name + "_b", layer.bias)

    def forward(self, x):
        h = F.max_pool2d(F.conv2d(x, self.conv1_w, self.conv1_b, padding=1).clamp(min=0), 2)
        h = torch.relu(h + F.conv2d(h, self.conv2_w, self.conv2_b, padding=1))
        h = F.adaptive_avg_pool2d(F.avg_pool2d(h, 2), 1).flatten(1)
        return F.linear(F.threshold(F.linear(h, self.fc1_w, self.fc1_b), 0.0, 0.0), self.fc2_w, self.fc2_b)


@pytest.fixture(scope="module")
def three():
    torch.manual_seed(4)
    written, modules = Written().double().eval(), Modules().double().eval()
    modules.load_state_dict(written.state_dict())
    return written, modules, Weights(written).eval()


@pytest.fixture
def x():
    return torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(7)).clamp(-3, 3)


@pytest.mark.parametrize("name", NAMED)
def test_named_composites(three, x, name):
    written, modules, weights = three
    for model in (written, weights):
        judge((model, modules), lambda p, m: p.Gradient(m, named(p, name, x)), x, signal(x))


def test_layer_map(three, x):
    written, modules, weights = three

    def make(p, m):
        maps = [(p.MaxPool, p.Norm(0.1)), (nn.ReLU, p.ReLUBetaSmooth(3.0)), (nn.Conv2d, p.Epsilon(0.1))]
        return p.Gradient(m, p.LayerMapComposite([*maps, (p.Sum, p.Norm(0.01)), (nn.Linear, p.ZPlus())]))

    for model in (written, weights):
        judge((model, modules), make, x, signal(x))


def test_residual_addition_without_a_module():
    """Zennit without its canonizer hands both branches all relevance; ours shares it, and says so."""
    x = peers.rows("resnet_bn")
    model, twin = networks("resnet_bn")
    seed = signal(x)
    found = ours.Gradient(model, ours.EpsilonPlus(canonizers=[ours.ResNetCanonizer()]))(x, seed)[1]
    merge = [theirs.SequentialMergeBatchNorm()]
    with theirs.Gradient(twin, theirs.EpsilonPlus(canonizers=merge)) as attributor:
        assert_close(found, attributor(x.clone(), seed)[1].detach(), 1e-9)


def test_a_layer_used_twice():
    """Zennit keeps only the last input of a layer; ours is that of two layers that share their weight."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act = nn.Linear(5, 5), nn.ReLU()

        def forward(self, x):
            return self.a(self.act(self.a(x)))

    torch.manual_seed(1)
    twice = Twice().double()
    twin = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5)).double()
    twin[0].load_state_dict(twice.a.state_dict())
    twin[2].load_state_dict(twice.a.state_dict())
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    judge((twice, twin), lambda p, m: p.Gradient(m, p.EpsilonPlus()), x)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.act = nn.Linear(4, 3), nn.ReLU()

    def forward(self, x):
        return self.act(self.fc((x - 0.5) / 0.25))


def test_scaling_hands_relevance_on():
    """Where relevance is carried; under a gradient it is a factor, as in Zennit."""
    torch.manual_seed(0)
    model = Scaled().double()
    x = torch.randn(3, 4, dtype=torch.float64)
    inner = nn.Sequential(model.fc, model.act)
    expected = ours.Gradient(inner, ours.EpsilonPlus())((x - 0.5) / 0.25)[1]
    assert_close(ours.Gradient(model, ours.EpsilonPlus())(x)[1], expected, 1e-12)
    for name in ("GuidedBackprop", "ExcitationBackprop"):
        judge((model, model), lambda p, m, n=name: p.Gradient(m, getattr(p, n)()), x)


def test_parametrised_and_derived_layers():
    class Own(nn.Linear):
        pass

    torch.manual_seed(0)
    weighted = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
    model = nn.Sequential(Own(4, 5), nn.ReLU(), weighted, nn.ReLU(), nn.Linear(6, 2)).double()
    plain = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    for mine, other in zip(model[::2], plain[::2], strict=True):
        with torch.no_grad():
            other.weight.copy_(mine.weight), other.bias.copy_(mine.bias)
    x = torch.randn(3, 4, dtype=torch.float64)
    judge((model, plain), lambda p, m: p.Gradient(m, p.EpsilonPlusFlat()), x)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LayerNorm(3)])
def test_layers_without_an_lrp_rule_are_refused(last):
    """Where relevance is carried; walked by their derivative where a composite carries none."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), last).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    with pytest.raises(rx.UnsupportedNode, match="has no LRP rule"):
        ours.Gradient(model, ours.EpsilonPlus())(x)
    for name in ("GuidedBackprop", "ExcitationBackprop", "BetaSmooth"):
        judge((model, model), lambda p, m, n=name: p.Gradient(m, getattr(p, n)()), x)
