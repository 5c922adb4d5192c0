"""Named composites, every form of `attr_output`, layer maps, name maps, mixtures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast.compat.zennit as ours
from tests import peers
from tests.compat.zennit.pair import MODELS, NAMED, judge, named, networks, signal, theirs
from tests.support import assert_close, relative_error

CLASS = torch.eye(4, dtype=torch.float64)[1]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("model", MODELS)
def test_named(name, model):
    x = peers.rows(model)
    for fold in (True, False) if model == "vgg_bn" else (True,):
        judge(networks(model), lambda p, m, f=fold: p.Gradient(m, named(p, name, x, f)), x, lambda out: out * CLASS)
    judge(networks(model), lambda p, m: p.Gradient(m, named(p, name, x), signal(x)), x)


@pytest.mark.parametrize("name", NAMED)
def test_single_precision(name):
    x = peers.rows("resnet_bn").float()
    pair = networks("resnet_bn", torch.float32)
    judge(pair, lambda p, m: p.Gradient(m, named(p, name, x)), x, torch.eye(4)[[1, 0, 3]])


@pytest.mark.parametrize("name", [None, "epsilon_plus_flat", "guided_backprop"])
def test_forms_of_attr_output(name):
    x = peers.rows("vgg_bn")
    pair, seed = networks("vgg_bn"), signal(x)
    forms = {"none": None, "tensor": seed, "function": lambda out: out * seed}
    found = {}
    for form, value in forms.items():
        make = named if name else lambda *_: None
        found[form] = judge(pair, lambda p, m, k=make: p.Gradient(m, k(p, name, x)), x, value)
        # In the constructor, and there overridden by the call.
        given = ours.Gradient(model=pair[0], composite=make(ours, name, x), attr_output=value)
        assert_close(given(x)[1], found[form], 0)
        assert_close(given(x, seed)[1], found.get("tensor", given(x, seed)[1]), 0)
    assert relative_error(found["tensor"], found["none"]) > 0.1


def test_signals_where_the_output_is_zero():
    """Relevance is what begins, not a multiple of the output."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU())
    with torch.no_grad():
        model[2].bias.fill_(-9.0)
    x, seed = torch.ones(2, 3), torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    found = judge((model, model), lambda p, m: p.Gradient(m, p.EpsilonPlus()), x, seed)
    assert float(found.abs().max()) > 0


@pytest.mark.parametrize("zero_params", [None, "bias", ["bias"]])
def test_arguments_of_composites(zero_params):
    x = peers.rows("vgg_bn")

    def make(p, m):
        first = [(p.Convolution, p.WSquare(zero_params=zero_params))]
        maps = [((nn.Linear, nn.Conv1d), p.Epsilon(0.1))]
        return p.Gradient(
            m,
            named(p, "epsilon_plus_flat", x, layer_map=maps, first_map=first, stabilizer=0.01, zero_params=zero_params),
        )

    judge(networks("vgg_bn"), make, x, signal(x))


@pytest.mark.parametrize("name", ["epsilon_plus", "epsilon_alpha2_beta1", "excitation_backprop", "epsilon_gamma_box"])
def test_stabilisers_and_no_bias(name):
    x = peers.rows("resnet_bn")
    options = {"stabilizer": 0.1, "zero_params": "bias"}
    judge(networks("resnet_bn"), lambda p, m: p.Gradient(m, named(p, name, x, **options)), x, signal(x))


def test_beta():
    x = peers.rows("vgg_bn")
    judge(networks("vgg_bn"), lambda p, m: p.Gradient(m, p.BetaSmooth(beta_smooth=2.0)), x, signal(x))


def test_name_map():
    x = peers.rows("vgg_bn")

    def make(p, m):
        names = [(["features.0"], p.ZBox(-3.0, 3.0)), (("features.4", "features.7"), p.Gamma(0.5))]
        return p.Gradient(m, p.NameMapComposite([*names, (["classifier.0", "classifier.3"], p.Epsilon())], []))

    judge(networks("vgg_bn"), make, x, signal(x))


def test_name_and_layer_map():
    x = peers.rows("resnet_bn")

    def make(p, m):
        names = [(["layers.0.conv1", "fc"], p.Epsilon(0.25)), (["layers.1.relu1"], p.ReLUGuidedBackprop())]
        types = [(p.Convolution, p.ZPlus()), (p.Activation, p.Pass()), ((p.Sum, p.AvgPool), p.Norm())]
        merge = [p.SequentialMergeBatchNorm()]
        return p.Gradient(m, p.NameLayerMapComposite(names, types, canonizers=merge))

    judge(networks("resnet_bn"), make, x, signal(x))


def test_mixed():
    x = peers.rows("vgg_bn")

    def make(p, m):
        inner = [p.NameMapComposite([(["classifier.0"], p.Flat())]), p.EpsilonGammaBox(-3.0, 3.0), p.EpsilonPlusFlat()]
        return p.Gradient(m, p.MixedComposite(inner, canonizers=[p.SequentialMergeBatchNorm()]))

    judge(networks("vgg_bn"), make, x, signal(x))


def test_canonizers_inside_a_mixture_count():
    x = peers.rows("vgg_bn")
    judge(networks("vgg_bn"), lambda p, m: p.Gradient(m, p.MixedComposite([named(p, "epsilon_plus", x)])), x, signal(x))


def test_layers_without_a_rule_follow_the_gradient():
    x = peers.rows("resnet_bn")

    def make(p, m):
        return p.Gradient(m, p.LayerMapComposite([(p.Convolution, p.ZPlus())], [p.SequentialMergeBatchNorm()]))

    judge(networks("resnet_bn"), make, x, signal(x))


def test_composite_by_function():
    x = peers.rows("vgg_bn")
    seen = []

    def make(p, m):
        def module_map(ctx, name, module):
            seen.append((name, type(module).__name__))
            ctx["convolutions"] = ctx.get("convolutions", 0) + isinstance(module, nn.Conv2d)
            if isinstance(module, nn.Conv2d):
                return p.Gamma(1 / ctx["convolutions"])
            return p.Epsilon(zero_params="bias") if isinstance(module, p.Linear) else None

        return p.Gradient(m, p.Composite(module_map=module_map, canonizers=[]))

    judge(networks("vgg_bn"), make, x, signal(x))
    assert seen[:2] == [("", "VGG"), ("features", "Sequential")]


class LastLayerDefinedFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.act = nn.Linear(5, 3), nn.ReLU()
        self.body = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.act(self.body(x)))


def test_first_is_first_by_definition():
    torch.manual_seed(0)
    model = LastLayerDefinedFirst().double()
    x = torch.randn(3, 4, dtype=torch.float64)
    found = judge((model, model), lambda p, m: p.Gradient(m, p.EpsilonPlusFlat()), x, signal(x, 3))
    names = {"head": ours.Flat(), "act": ours.Pass(), "body": ours.Epsilon()}
    expected = ours.Gradient(model, ours.NameMapComposite([([name], rule) for name, rule in names.items()]))
    assert_close(found, expected(x, signal(x, 3))[1], 1e-12)


def test_their_names_are_ours():
    assert set(ours.COMPOSITES) == set(theirs.COMPOSITES)
    assert {c.__name__ for c in ours.COMPOSITES.values()} == {c.__name__ for c in theirs.COMPOSITES.values()}
