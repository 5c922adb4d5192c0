"""The LRP oracle against Captum's `LRP` on models that it takes: float64, to 1e-10 of scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.oracles.lrp import each, explain, rules
from tests.support import assert_close
from tests.zoo.registry import settle

captum = pytest.importorskip("captum.attr", reason="captum is not installed: the oracle is not compared with it")
theirs = pytest.importorskip("captum.attr._utils.lrp_rules")

EPSILON = 1e-9  # Captum's, fixed in Gamma, Alpha1_Beta0 and its pools


class Net(nn.Module):
    """Each module once, none without a rule in Captum."""

    def __init__(self, norm: bool):
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(5, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.bn = nn.BatchNorm2d(5) if norm else None
        self.fc1, self.relu3, self.drop, self.fc2 = nn.Linear(24, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x)
        h = self.pool1(self.relu1(h if self.bn is None else self.bn(h)))
        h = self.pool2(self.relu2(self.conv2(h)))
        return self.fc2(self.drop(self.relu3(self.fc1(torch.flatten(h, 1)))))


# name: (our rule, Captum's)
RULES = {
    "epsilon": (rules.Epsilon(EPSILON), theirs.EpsilonRule),
    "epsilon_wide": (rules.Epsilon(0.1), lambda: theirs.EpsilonRule(0.1)),
    "gamma": (rules.Gamma(0.25, EPSILON, "kept", "positive_input"), theirs.GammaRule),
    "gamma_no_bias": (
        rules.Gamma(0.7, EPSILON, "zero", "positive_input"),
        lambda: theirs.GammaRule(0.7, set_bias_to_zero=True),
    ),
    "alpha1_beta0": (rules.ZPlus(EPSILON, "kept", "positive_input"), theirs.Alpha1_Beta0_Rule),
    "alpha1_beta0_no_bias": (
        rules.ZPlus(EPSILON, "zero", "positive_input"),
        lambda: theirs.Alpha1_Beta0_Rule(set_bias_to_zero=True),
    ),
}


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch_norm"])
@pytest.mark.parametrize("name", RULES)
def test_rule(name, norm):
    ours, make = RULES[name]
    model = settle(Net(norm), 3).double().eval()
    x = torch.randn(
        2, 3, 8, 8, generator=torch.Generator(torch.get_default_device()).manual_seed(1), dtype=torch.float64
    )
    target = [1, 2]
    weighted = each(ours)

    def chosen(node):
        """Pools and batch norms follow Captum's epsilon rule, whatever the other maps follow."""
        return rules.Epsilon(EPSILON) if node.kind in ("max_pool", "average", "batch_norm") else weighted(node)

    found = explain(model, (x,), chosen, target, fold=False)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.rule = make()
    expected = captum.LRP(model).attribute(x.clone(), target)
    assert_close(found.values[0], expected.detach(), 1e-10, name)
