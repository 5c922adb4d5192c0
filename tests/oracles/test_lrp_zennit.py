"""The LRP oracle against Zennit's composites, where it is installed: float64, to 1e-10 of scale."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch
from torch import Tensor, nn

from tests.oracles.lrp import composite, each, explain, rules
from tests.support import assert_close
from tests.zoo.registry import settle

if importlib.util.find_spec("zennit") is None:
    pytest.skip("zennit is not installed: the oracle is not compared with it", allow_module_level=True)


def _operators_of_torchvision() -> torch.library.Library:
    """Operators that torchvision's wheel registers fakes for, but brings only for other builds of torch."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


try:
    importlib.import_module("torchvision")  # zennit does
except RuntimeError:
    _LIBRARY = _operators_of_torchvision()

attribution, canonizers, composites, layer, types, their_rules = (
    importlib.import_module(f"zennit.{name}")
    for name in ("attribution", "canonizers", "composites", "layer", "types", "rules")
)


class VGG(nn.Module):
    """Convolutions, max-pools, an adaptive average pool, two linear maps."""

    def __init__(self, norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out, pool in ((3, 6, True), (6, 6, False), (6, 8, True)):
            layers.append(nn.Conv2d(c_in, c_out, 3, padding=1))
            layers += [nn.BatchNorm2d(c_out)] if norm else []
            layers += [nn.ReLU(), *([nn.MaxPool2d(2)] if pool else [])]
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(32, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Plus(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Stacked(nn.Module):
    """An add as Zennit can see it: a sum over a stacked axis."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = layer.Sum()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.sum(torch.stack([a, b], dim=-1))


class Block(nn.Module):
    def __init__(self, c_in: int, c: int, stride: int, add: type[nn.Module]):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
        self.down = None
        if (c_in, stride) != (c, 1):
            self.down = nn.Sequential(nn.Conv2d(c_in, c, 1, stride, bias=False), nn.BatchNorm2d(c))
        self.add, self.relu2 = add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(self.add(out, x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """Basic blocks with batch norm."""

    def __init__(self, add: type[nn.Module]):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 4, 5, 2, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        self.pool, self.layers = nn.MaxPool2d(3, 2, 1), nn.Sequential(Block(4, 4, 1, add), Block(4, 6, 2, add))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layers(x)), 1))


class Preactivation(nn.Module):
    """Batch norms that do not fold, and an average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.bn1, self.relu2 = nn.BatchNorm2d(4), nn.ReLU()
        self.conv2, self.pool, self.fc = nn.Conv2d(4, 5, 3, bias=False), nn.AvgPool2d(2), nn.Linear(5 * 25, 4)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(self.relu2(self.bn1(self.relu1(self.conv1(x)))))
        return self.fc(torch.flatten(self.pool(self.relu3(h)), 1))


# name: (model for the oracle, the same as Zennit needs it)
MODELS = {
    "vgg": (lambda: VGG(False), lambda: VGG(False)),
    "vgg_bn": (lambda: VGG(True), lambda: VGG(True)),
    "resnet_bn": (lambda: ResNet(Plus), lambda: ResNet(Stacked)),
    "preactivation": (Preactivation, Preactivation),
}
BOX = {"low": -3.0, "high": 3.0}
# name: (Zennit's composite, arguments of both)
COMPOSITES = {
    "epsilon_plus": (composites.EpsilonPlus, {}),
    "epsilon_plus_flat": (composites.EpsilonPlusFlat, {}),
    "epsilon_alpha2_beta1": (composites.EpsilonAlpha2Beta1, {}),
    "epsilon_alpha2_beta1_flat": (composites.EpsilonAlpha2Beta1Flat, {}),
    "epsilon_gamma_box": (composites.EpsilonGammaBox, BOX),
    "excitation_backprop": (composites.ExcitationBackprop, {}),
    "guided_backprop": (composites.GuidedBackprop, {}),
    "deconvnet": (composites.DeconvNet, {}),
}


def built(make) -> nn.Module:
    """Parameters from a seed; eps of batch norms moved into the variance: Zennit's merged ones still divide by it."""
    with torch.random.fork_rng(devices=[]):
        model = make()
    for module in settle(model, 0).double().eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var += module.eps
            module.eps = 0.0
    return model


def rows(model: str) -> Tensor:
    size = 12 if model != "resnet_bn" else 16
    return torch.randn(
        3, 3, size, size, generator=torch.Generator(torch.get_default_device()).manual_seed(2), dtype=torch.float64
    ).clamp(-3, 3)


def zennit_relevance(model: nn.Module, x: Tensor, theirs, fold: bool) -> tuple[Tensor, Tensor]:
    """Output and relevance, seeded with the logit of class 1."""

    def seed(out: Tensor) -> Tensor:
        return out * torch.eye(out.shape[1], dtype=out.dtype)[1]

    merge = [canonizers.SequentialMergeBatchNorm()] if fold else []
    with attribution.Gradient(model, composite=theirs(canonizers=merge), attr_output=seed) as attributor:
        out, relevance = attributor(x.clone())
    return out.detach(), relevance.detach()


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_composite(name, model, fold):
    ours, theirs = MODELS[model]
    make, arguments = COMPOSITES[name]
    x = rows(model)

    def their_composite(**options):
        box = {k: torch.full_like(x[:1], v) for k, v in arguments.items()}
        return make(**box, **options)

    out, expected = zennit_relevance(built(theirs), x, their_composite, fold)
    found = explain(built(ours), (x,), composite(name, **arguments), 1, fold=fold)
    assert_close(found.output, out[:, 1], 1e-13, "output")
    assert_close(found.values[0], expected, 1e-10, name)


# name: (our rule, Zennit's)
RULES = {
    "epsilon": (rules.Epsilon(0.01), lambda: their_rules.Epsilon(0.01)),
    "epsilon_no_bias": (rules.Epsilon(bias="zero"), lambda: their_rules.Epsilon(zero_params="bias")),
    "zero": (rules.Zero(), lambda: their_rules.Epsilon(0.0)),
    "gamma": (rules.Gamma(0.5, 1e-3), lambda: their_rules.Gamma(0.5, 1e-3)),
    "gamma_no_bias": (rules.Gamma(bias="zero"), lambda: their_rules.Gamma(zero_params="bias")),
    "z_plus": (rules.ZPlus(1e-3), lambda: their_rules.ZPlus(1e-3)),
    "z_plus_no_bias": (rules.ZPlus(bias="zero"), lambda: their_rules.ZPlus(zero_params="bias")),
    "alpha_beta": (rules.AlphaBeta(1.5, 0.5), lambda: their_rules.AlphaBeta(1.5, 0.5)),
    "alpha_beta_no_bias": (rules.AlphaBeta(bias="zero"), lambda: their_rules.AlphaBeta(2, 1, zero_params="bias")),
    "w_square": (rules.WSquare(), their_rules.WSquare),
    "w_square_no_bias": (rules.WSquare(bias="zero"), lambda: their_rules.WSquare(zero_params="bias")),
    "flat": (rules.Flat(), their_rules.Flat),
    "z_box": (rules.ZBox(-5.0, 6.0), lambda: their_rules.ZBox(torch.tensor(-5.0), torch.tensor(6.0))),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_everywhere(name):
    """One rule on every convolution and linear map."""
    ours, theirs = RULES[name]
    x = rows("preactivation")
    plain = [(types.Activation, their_rules.Pass()), (types.AvgPool, their_rules.Norm())]
    weighted = [(types.Convolution, theirs()), (types.Linear, theirs())]
    passed = [(types.BatchNorm, their_rules.Pass())]

    def their_composite(**options):
        return composites.LayerMapComposite([*plain, *weighted, *passed], **options)

    _, expected = zennit_relevance(built(Preactivation), x, their_composite, fold=False)
    found = explain(built(Preactivation), (x,), each(ours), 1, fold=False)
    assert_close(found.values[0], expected, 1e-10, name)
