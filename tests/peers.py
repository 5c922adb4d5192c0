"""Zennit beside us: its import, and networks that it explains as they are meant (its own canonizers fold the norms).

Importing this module skips the test module that does so where Zennit is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch
from torch import Tensor, nn

from reluxfast.benchmarks.torchvision_operators import operators_of_torchvision
from tests.zoo.registry import settle

if importlib.util.find_spec("zennit") is None:
    pytest.skip("zennit is not installed: nothing is compared with it", allow_module_level=True)


operators_of_torchvision()  # zennit imports it

attribution, canonizers, composites, layer, types, rules = (
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


class PlusInPlace(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a += b
        return a


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


# name: (model, the same as Zennit needs it)
MODELS = {
    "vgg": (lambda: VGG(False), lambda: VGG(False)),
    "vgg_bn": (lambda: VGG(True), lambda: VGG(True)),
    "resnet_bn": (lambda: ResNet(Plus), lambda: ResNet(Stacked)),
    "resnet_in_place": (lambda: ResNet(PlusInPlace), lambda: ResNet(Stacked)),
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
# name: Zennit's rule, for every convolution and linear map
RULES = {
    "epsilon": lambda: rules.Epsilon(0.01),
    "epsilon_no_bias": lambda: rules.Epsilon(zero_params="bias"),
    "zero": lambda: rules.Epsilon(0.0),
    "gamma": lambda: rules.Gamma(0.5, 1e-3),
    "gamma_no_bias": lambda: rules.Gamma(zero_params="bias"),
    "z_plus": lambda: rules.ZPlus(1e-3),
    "z_plus_no_bias": lambda: rules.ZPlus(zero_params="bias"),
    "alpha_beta": lambda: rules.AlphaBeta(1.5, 0.5),
    "alpha_beta_no_bias": lambda: rules.AlphaBeta(2, 1, zero_params="bias"),
    "w_square": rules.WSquare,
    "w_square_no_bias": lambda: rules.WSquare(zero_params="bias"),
    "flat": rules.Flat,
    "z_box": lambda: rules.ZBox(torch.tensor(-5.0), torch.tensor(6.0)),
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
    """Three signed images inside the box."""
    size = 16 if model.startswith("resnet") else 12
    generator = torch.Generator(torch.get_default_device()).manual_seed(2)
    return torch.randn(3, 3, size, size, generator=generator, dtype=torch.float64).clamp(-3, 3)


def explained(model: str, composite, fold: bool = True) -> tuple[Tensor, Tensor]:
    """Zennit's output and relevance of `rows(model)`, seeded with the logit of class 1; `fold` folds batch norms."""

    def seed(out: Tensor) -> Tensor:
        return out * torch.eye(out.shape[1], dtype=out.dtype)[1]

    merge = [canonizers.SequentialMergeBatchNorm()] if fold else []
    network = built(MODELS[model][1])
    with attribution.Gradient(network, composite=composite(canonizers=merge), attr_output=seed) as attributor:
        out, relevance = attributor(rows(model))
    return out.detach(), relevance.detach()


def by_composite(model: str, name: str, fold: bool = True) -> tuple[Tensor, Tensor]:
    """`explained` under one of `COMPOSITES`."""
    make, arguments = COMPOSITES[name]
    box = {k: torch.full_like(rows(model)[:1], v) for k, v in arguments.items()}
    return explained(model, lambda **options: make(**box, **options), fold)


def by_rule(model: str, name: str, fold: bool = True) -> tuple[Tensor, Tensor]:
    """`explained` with one of `RULES` on every convolution and linear map, the norm rule on sums, else pass."""
    weighted = [(types.Convolution, RULES[name]()), (types.Linear, RULES[name]())]
    sums = [(types.AvgPool, rules.Norm()), (layer.Sum, rules.Norm())]
    passed = [(types.Activation, rules.Pass()), (types.BatchNorm, rules.Pass())]
    return explained(
        model, lambda **options: composites.LayerMapComposite([*weighted, *sums, *passed], **options), fold
    )
