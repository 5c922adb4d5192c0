"""Each rule on every convolution and linear map, batch norms folded or layers of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast.compat.zennit as ours
from reluxfast.compat.zennit.core import Composite
from tests import peers
from tests.compat.zennit.pair import judge, networks, signal
from tests.support import assert_close

RULES = {
    "epsilon": lambda p: p.Epsilon(0.01),
    "epsilon_no_bias": lambda p: p.Epsilon(zero_params="bias"),
    "zero": lambda p: p.Epsilon(0),
    "gamma": lambda p: p.Gamma(0.5, 1e-3),
    "gamma_no_bias": lambda p: p.Gamma(zero_params=["bias"]),
    "z_plus": lambda p: p.ZPlus(1e-3),
    "z_plus_no_bias": lambda p: p.ZPlus(zero_params="bias"),
    "alpha_beta": lambda p: p.AlphaBeta(1.5, 0.5),
    "alpha_beta_no_bias": lambda p: p.AlphaBeta(2, 1, zero_params="bias"),
    "alpha1_beta0": lambda p: p.AlphaBeta(1, 0),
    "w_square": lambda p: p.WSquare(),
    "w_square_no_bias": lambda p: p.WSquare(1e-4, "bias"),
    "flat": lambda p: p.Flat(0.1),
    "z_box": lambda p: p.ZBox(torch.tensor(-5.0), torch.tensor(6.0)),
    "z_box_numbers": lambda p: p.ZBox(-5.0, 6.0, zero_params="bias"),
}


def everywhere(p, rule) -> list:
    passed = [((p.Activation, p.BatchNorm), p.Pass()), ((p.AvgPool, p.Sum), p.Norm(1e-4))]
    return [*passed, (p.Linear, rule)]


@pytest.mark.parametrize(("model", "fold"), [("vgg_bn", True), ("vgg_bn", False), ("resnet_bn", True)])
@pytest.mark.parametrize("name", RULES)
def test_rule(model, name, fold):
    x = peers.rows(model)

    def make(p, m):
        merge = [p.SequentialMergeBatchNorm()] if fold else []
        return p.Gradient(m, p.LayerMapComposite(everywhere(p, RULES[name](p)), merge))

    judge(networks(model), make, x, signal(x))


def network(d: int) -> nn.Module:
    convolution, transposed, pool = (getattr(nn, f"{n}{d}d") for n in ("Conv", "ConvTranspose", "AvgPool"))
    torch.manual_seed(d)
    layers = [convolution(2, 4, 3, stride=2, padding=1, groups=2), nn.LeakyReLU(0.2), transposed(4, 3, 2, stride=2)]
    layers += [nn.ReLU6(), pool(2), nn.ELU(), getattr(nn, f"MaxPool{d}d")(2), nn.Flatten(), nn.LazyLinear(4)]
    model = nn.Sequential(*layers).double()
    model(torch.zeros(1, 2, *[9] * d, dtype=torch.float64))
    return model.eval()


@pytest.mark.parametrize("name", ["alpha_beta", "z_box"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_dimensions(d, name):
    """Grouped, strided and transposed convolutions, odd sizes, activations that are no ReLU."""
    model = network(d)
    x = torch.randn(2, 2, *[9] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    judge(
        (model, model), lambda p, m: p.Gradient(m, p.LayerMapComposite(everywhere(p, RULES[name](p)), [])), x, signal(x)
    )


@pytest.mark.parametrize("rule", ["ReLUGuidedBackprop", "ReLUDeconvNet", "ReLUBetaSmooth"])
def test_rules_of_relu_beside_others(rule):
    """Signals that come from an LRP rule, which are relevance; and a ReLU6, which is no ReLU to a layer map."""
    x = peers.rows("vgg_bn")
    judge(
        networks("vgg_bn"),
        lambda p, m: p.Gradient(m, p.LayerMapComposite([(nn.ReLU, getattr(p, rule)()), (p.Linear, p.Epsilon())], [])),
        x,
        signal(x),
    )
    model = network(2)
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    judge((model, model), lambda p, m: p.Gradient(m, p.LayerMapComposite([(nn.ReLU, getattr(p, rule)())], [])), x)


def test_bounds_of_a_box():
    """As a number, one per channel, and one per element of a batch of like rows."""
    x = peers.rows("vgg_bn")
    low = torch.tensor([-3.0, -4.0, -5.0], dtype=torch.float64).view(1, 3, 1, 1)
    found = []
    for bound in (low, low.expand(3, 3, 12, 12).clone(), low.expand(1, 3, 12, 12).clone(), low.view(1, 3)):
        make = lambda p, m, b=bound: p.Gradient(m, p.EpsilonGammaBox(b, 4.0, canonizers=[]))  # noqa: E731
        found.append(judge(networks("vgg_bn"), make, x, signal(x)))
    for relevance in found[1:]:
        assert_close(relevance, found[0], 1e-12)


def test_maps_by_every_type():
    """Types decide as Zennit's do, for every layer of torch.nn that can be made without arguments of its own."""
    kinds = [getattr(nn, f"{n}{d}d") for n in ("Conv", "ConvTranspose", "BatchNorm") for d in (1, 2, 3)]
    kinds += [getattr(nn, f"{n}{d}d") for n in ("AvgPool", "MaxPool", "AdaptiveAvgPool") for d in (1, 2, 3)]
    kinds += [getattr(nn.modules.activation, n) for n in nn.modules.activation.__all__ if n != "MultiheadAttention"]
    families = [n for n in vars(peers.types) if isinstance(getattr(ours, n, None), type)]
    assert len(families) == 8
    for kind in [*kinds, nn.Linear, nn.Dropout, nn.Identity]:
        for family in families:
            expected = issubclass(kind, getattr(peers.types, family))
            assert issubclass(kind, getattr(ours, family)) == expected, (kind, family)
            assert isinstance(kind.__new__(kind), getattr(ours, family)) == expected


def test_no_rule_is_the_gradient():
    x = peers.rows("vgg_bn")
    model = networks("vgg_bn")[0]
    expected = ours.Gradient(model)(x, signal(x))[1]
    assert_close(ours.Gradient(model, Composite())(x, signal(x))[1], expected, 0)
