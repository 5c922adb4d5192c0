"""What is right, in float64, from oracles that know nothing of hooks or of the engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reluxfast.benchmarks.constructs.nets import Net
from tests.oracles import lrp
from tests.oracles.deep_lift import deep_lift
from tests.oracles.lrp import rules
from tests.oracles.rules import rule_kit
from tests.zoo.kit import FUNCTIONAL, MODULES

CAPTUM_EPSILON = 1e-9
TARGET = 1


def baseline(x: Tensor) -> Tensor:
    """One row (1, ...) that DeepLIFT compares with: none of its windows holds equal values."""
    return torch.randn(1, *x.shape[1:], generator=torch.Generator().manual_seed(2)).to(x.dtype)


def _wide(net: Net, kit, model: nn.Module) -> nn.Module:
    """The network with other activations and the parameters of `model`, in float64."""
    wide = net.built(kit).double()
    wide.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    return wide


def guided_backprop(net: Net, model: nn.Module, x: Tensor) -> Tensor:
    wide = _wide(net, rule_kit("guided_backprop"), model)
    own = x.double().requires_grad_()
    return torch.autograd.grad(wide(own)[:, TARGET].sum(), own)[0]


def captum_lrp(net: Net, model: nn.Module, x: Tensor) -> Tensor:
    """Captum's convention: ε everywhere, batch norms layers of their own, gamma where convolutions are to follow it."""
    epsilon = rules.Epsilon(CAPTUM_EPSILON)
    gamma = rules.Gamma(0.25, CAPTUM_EPSILON, "kept", "positive_input")

    def composite(node):
        if node.kind == "convolution" and net.state == "twice":
            return gamma
        if node.kind in ("convolution", "linear", "batch_norm"):
            return epsilon
        if node.kind in ("add", "average"):
            return rules.Norm(CAPTUM_EPSILON)
        return rules.Winner() if node.kind == "max_pool" else rules.Pass()

    wide = _wide(net, MODULES, model)
    return lrp.explain(wide, (x.double(),), composite, TARGET, fold=False).values[0]


def epsilon_plus(net: Net, model: nn.Module, x: Tensor) -> Tensor:
    """Seeded with 1 at the target."""
    wide = _wide(net, MODULES, model)
    return lrp.explain(wide, (x.double(),), lrp.composite("epsilon_plus"), TARGET, seed=1.0).values[0]


def deep_lift_values(net: Net, model: nn.Module, x: Tensor) -> Tensor:
    wide, own, based = _wide(net, FUNCTIONAL, model), x.double(), baseline(x).double()
    return deep_lift(wide, (own,), (based,), TARGET)[0] * (own - based)
