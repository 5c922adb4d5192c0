"""The engine, in Captum's convention, against Captum's `LRP` on models that it takes: float64, to 1e-10 of scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reluxfast as rx
from reluxfast import rules
from reluxfast.composites import by_kind
from tests.support import assert_close
from tests.zoo.registry import settle

captum = pytest.importorskip("captum.attr", reason="captum is not installed: the engine is not compared with it")
theirs = pytest.importorskip("captum.attr._utils.lrp_rules")
custom = pytest.importorskip("captum.attr._utils.custom_modules")

EPSILON = 1e-9  # Captum's, fixed in Gamma, Alpha1_Beta0 and for pools, sums and batch norms
# Captum's rule for maximum pools divides by their output; so small an ε leaves the winner with all there is.
WINNER = 1e-300


class Chain(nn.Module):
    """Each module once, none without a rule in Captum; a batch norm that does not fold."""

    def __init__(self, pool: type[nn.Module], norm: bool):
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), pool(2)
        self.bn = nn.BatchNorm2d(5) if norm else None
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(5, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.fc1, self.relu3, self.drop, self.fc2 = nn.Linear(24, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu1(self.conv1(x))
        h = self.pool1(h if self.bn is None else self.bn(h))
        h = self.pool2(self.relu2(self.conv2(h)))
        return self.fc2(self.drop(self.relu3(self.fc1(torch.flatten(h, 1)))))


class Normalised(nn.Module):
    """Batch norms right behind their maps, where they would fold: before a ReLU, before an addition, at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU()
        self.conv2, self.bn2, self.add = nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5), custom.Addition_Module()
        self.relu2, self.pool, self.conv3, self.bn3 = nn.ReLU(), nn.AvgPool2d(4), nn.Conv2d(5, 4, 2), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu1(self.bn1(self.conv1(x)))
        h = self.relu2(self.add(self.bn2(self.conv2(h)), h))
        return torch.flatten(self.bn3(self.conv3(self.pool(h))), 1)


class Residual(nn.Module):
    """Two additions, one before a ReLU and one behind it, as the module that Captum asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu1 = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()
        self.conv1, self.add1, self.relu2 = nn.Conv2d(5, 5, 3, padding=1), custom.Addition_Module(), nn.ReLU()
        self.conv2, self.relu3, self.add2 = nn.Conv2d(5, 5, 1), nn.ReLU(), custom.Addition_Module()
        self.pool, self.fc = nn.AvgPool2d(2), nn.Linear(80, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu1(self.stem(x))
        h = self.relu2(self.add1(self.conv1(h), h))
        h = self.add2(self.relu3(self.conv2(h)), h)
        return self.fc(torch.flatten(self.pool(h), 1))


MODELS = {
    "average": lambda: Chain(nn.AvgPool2d, False),
    "maximum": lambda: Chain(nn.MaxPool2d, False),
    "batch_norm": lambda: Chain(nn.AvgPool2d, True),
    "residual": Residual,
    "conv_batch_norm": Normalised,
}
# name: (our rule, Captum's)
RULES = {
    "epsilon": (rules.Epsilon(EPSILON, bias="kept"), theirs.EpsilonRule),
    "epsilon_wide": (rules.Epsilon(0.1, bias="kept"), lambda: theirs.EpsilonRule(0.1)),
    "gamma": (rules.Gamma(0.25, split=False, epsilon=EPSILON, bias="kept"), theirs.GammaRule),
    "gamma_wide": (rules.Gamma(3.0, split=False, epsilon=EPSILON, bias="kept"), lambda: theirs.GammaRule(3.0)),
    "gamma_no_bias": (
        rules.Gamma(0.7, split=False, epsilon=EPSILON, bias="zero"),
        lambda: theirs.GammaRule(0.7, set_bias_to_zero=True),
    ),
    "alpha1_beta0": (rules.ZPlus(split=False, epsilon=EPSILON, bias="kept"), theirs.Alpha1_Beta0_Rule),
    "alpha1_beta0_no_bias": (
        rules.ZPlus(split=False, epsilon=EPSILON, bias="zero"),
        lambda: theirs.Alpha1_Beta0_Rule(set_bias_to_zero=True),
    ),
}


def _ours(rule: rules.Rule):
    """Sums, shifts and batch norms follow Captum's epsilon rule, whatever the maps follow."""
    return by_kind(rule, rule, rest=rules.Epsilon(EPSILON))


def _theirs(model: nn.Module, rule, x: Tensor, target) -> Tensor:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.rule = rule()
        if isinstance(module, nn.MaxPool2d):
            module.rule = theirs.EpsilonRule(WINNER)
    return captum.LRP(model).attribute(x.clone(), target).detach()


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("target", [1, [1, 3, 0]], ids=["one target", "a target each"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("model", MODELS)
def test_rule(model, name, target, backend):
    """Signed inputs, three rows."""
    ours, rule = RULES[name]
    network = settle(MODELS[model](), 3).double().eval()
    generator = torch.Generator(torch.get_default_device()).manual_seed(1)
    x = torch.randn(3, 3, 8, 8, generator=generator, dtype=torch.float64)
    with rx.backend(backend):
        found = rx.lrp(network, x, target, composite=_ours(ours), fold_batch_norm=False).values
    assert_close(found, _theirs(network, rule, x, target), 1e-10, name)
