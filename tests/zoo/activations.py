"""Bounded ReLUs, smooth activations, normalisations, products and heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import FUNCTIONAL, INPLACE_MODULES, Kit
from tests.zoo.registry import add, construct, with_head
from tests.zoo.reuse import Lambda, kit_module


class Bounded(nn.Module):
    """conv, activation, conv, activation, head; inputs are scaled so that both bounds are met."""

    def __init__(self, kit: Kit, act):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.act1, self.act2 = act(kit), act(kit)
        self.fc = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act2(self.b(self.act1(3.0 * self.a(x)))).flatten(1))


def _bounded(name: str, act, written=None, kit: Kit | None = None, notes: str = "") -> None:
    """`written` is the activation as a user writes it where the kit has no such spelling."""
    build = (lambda k: Bounded(k, act)) if written is None else (lambda k: Bounded(k, lambda _: written))
    add(
        name,
        build,
        twin=lambda k: Bounded(k, act),
        shape=(3, 6, 6),
        notes=notes,
        tags="bounded",
        **({} if kit is None else {"kit": kit}),
    )


def _relu6(kit):
    return kit.relu6()


_bounded("relu6_module", _relu6)
_bounded("relu6_inplace", _relu6, kit=INPLACE_MODULES)
_bounded("relu6_functional", _relu6, kit=FUNCTIONAL)
_bounded("relu6_clamp", _relu6, lambda x: x.clamp(0, 6))
_bounded("relu6_hardtanh", _relu6, lambda x: F.hardtanh(x, 0.0, 6.0))
_bounded("hardtanh_from_zero", lambda k: k.hardtanh(0.0, 2.0), notes="lower bound 0: a ReLU for every rule")
_bounded("hardtanh", lambda k: k.hardtanh(-1.0, 1.0), notes="lower bound below 0: the gradient in every rule")
_bounded("hardtanh_inplace", lambda k: k.hardtanh(-1.0, 1.0), kit=INPLACE_MODULES)
_bounded("hardtanh_uneven", lambda k: k.hardtanh(-0.5, 0.8), lambda x: F.hardtanh(x, -0.5, 0.8))
_bounded("clamp_both", lambda k: k.hardtanh(-1.0, 1.5), lambda x: x.clamp(-1.0, 1.5))
_bounded("clamp_positive_floor", lambda k: k.hardtanh(0.1, 1.0), lambda x: torch.clamp(x, min=0.1, max=1.0))
_bounded("clamp_max", lambda k: k.hardtanh(float("-inf"), 1.0), lambda x: x.clamp(max=1.0))
_bounded("clamp_floor", lambda k: k.hardtanh(-1.0, float("inf")), lambda x: x.clamp_min(-1.0))

_SMOOTH = {
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "leaky_relu_inplace": lambda: nn.LeakyReLU(0.2, inplace=True),
    "prelu": nn.PReLU,
    "prelu_per_channel": lambda: nn.PReLU(4),
    "elu": nn.ELU,
    "elu_alpha_inplace": lambda: nn.ELU(0.5, inplace=True),
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "silu_inplace": lambda: nn.SiLU(inplace=True),
    "mish": nn.Mish,
    "softplus": lambda: nn.Softplus(beta=2.0),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "logsigmoid": nn.LogSigmoid,
    "softsign": nn.Softsign,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "threshold_not_relu": lambda: nn.Threshold(0.1, 0.2),
    "abs": lambda: Lambda(torch.abs),
    "square": lambda: Lambda(lambda x: x**2),
    "exp": lambda: Lambda(lambda x: torch.exp(-x * 0.3)),
    "sqrt": lambda: Lambda(lambda x: (x * x + 0.1).sqrt()),
    "product_of_itself": lambda: Lambda(lambda x: x * x.roll(1, 1)),
    "quotient": lambda: Lambda(lambda x: x / (1.0 + x.abs())),
    "glu": lambda: Lambda(lambda x: F.glu(torch.cat([x, 0.5 * x.flip(1)], 1), 1)),
    "layer_norm": lambda: nn.LayerNorm((4, 6, 6)),
    "layer_norm_channels": lambda: nn.Sequential(
        Lambda(lambda x: x.permute(0, 2, 3, 1)), nn.LayerNorm(4), Lambda(lambda x: x.permute(0, 3, 1, 2))
    ),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "instance_norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance_norm_tracked": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "local_response_norm": lambda: nn.LocalResponseNorm(3, alpha=0.5),
    "normalize": lambda: Lambda(lambda x: F.normalize(x, dim=1)),
    "rms_norm": lambda: nn.RMSNorm((4, 6, 6), eps=1e-5),
    "softmax_inside": lambda: nn.Softmax(dim=1),
    "not_relu_gate_at_half": lambda: Lambda(lambda x: x * (x > 0.5)),
    "not_relu_gate_of_another": lambda: Lambda(lambda x: x * (x.roll(1, 1) > 0)),
    "not_relu_where_negative": lambda: Lambda(lambda x: torch.where(x > 0, 0.0, x)),
    "not_relu_where_constant": lambda: Lambda(lambda x: torch.where(x > 0, x, 0.1)),
    "not_relu_where_leaky": lambda: Lambda(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "not_relu_maximum": lambda: Lambda(lambda x: torch.maximum(x, torch.full_like(x, 0.1))),
    "not_relu_maximum_of_two": lambda: Lambda(lambda x: torch.maximum(x, 0.5 * x.roll(1, 1))),
    "not_relu_threshold_value": lambda: Lambda(lambda x: F.threshold(x, 0.0, 0.3)),
    "not_relu_minimum": lambda: Lambda(lambda x: torch.minimum(x, torch.zeros_like(x))),
    "not_relu_gate_alone": lambda: Lambda(lambda x: 0.3 * x + (x > 0).to(x.dtype)),
    "prelu_scalar_gate": lambda: Lambda(lambda x: x * torch.sigmoid(1.7 * x)),
}


def _mixed(kit: Kit, make) -> nn.Module:
    return with_head(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), make(), nn.Conv2d(4, 4, 3), kit_module(kit)), (3, 6, 6)
    )


for _name, _make in _SMOOTH.items():
    add(_name, lambda kit, make=_make: _mixed(kit, make), shape=(3, 6, 6), tags="vjp")


@construct(shape=(3, 6, 6))
class HandWrittenHardswish(nn.Module):
    """x * relu6(x + 3) / 6: the relu6 is a ReLU for the rules, the product is not."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 4, 3), kit.relu6(), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = 2.0 * self.conv(x)
        return self.fc((h * self.act(h + 3.0) / 6.0).flatten(1))


@construct(shape=(3, 6, 6))
class SqueezeExcite(nn.Module):
    """A product of activations with a sigmoid of their means."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)
        self.act1, self.act2, self.fc = kit.relu(), kit.relu(), nn.Linear(96, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act1(self.conv(x))
        gate = torch.sigmoid(self.up(self.act2(self.down(F.adaptive_avg_pool2d(h, 1)))))
        return self.fc((h * gate).flatten(1))


def _head(name: str, head) -> None:
    def build(kit: Kit) -> nn.Module:
        return nn.Sequential(nn.Linear(9, 8), kit_module(kit), nn.Linear(8, 4), head())

    add(name, build, shape=(9,), tags="vjp")


_head("softmax_head", lambda: nn.Softmax(dim=1))
_head("log_softmax_head", lambda: nn.LogSoftmax(dim=-1))
_head("sigmoid_head", nn.Sigmoid)
_head("relu_head", lambda: Lambda(lambda x: x * 2.0 + 1.0))
_head("dropout_head", lambda: nn.Dropout(0.9))
_head("identity_head", nn.Identity)


def _parametrised(name: str, wrap) -> None:
    def build(kit: Kit) -> nn.Module:
        body = nn.Sequential(wrap(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), kit_module(kit), wrap(nn.Conv2d(4, 4, 1)))
        return with_head(nn.Sequential(body, kit_module(kit)), (3, 6, 6))

    add(name, build, shape=(3, 6, 6), tags="parametrised")


_parametrised("weight_norm", torch.nn.utils.parametrizations.weight_norm)
_parametrised("spectral_norm", torch.nn.utils.parametrizations.spectral_norm)


@construct(shape=(9,), training=True)
class TrainFlag(nn.Module):
    """Dropout and batch norm with the training flag on: explained as in eval mode, flags untouched."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.bn, self.b = nn.Linear(9, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.relu, self.drop = kit.relu(), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.relu(self.bn(self.a(x))))
        return F.dropout(self.b(h), 0.5, self.training)


@construct(shape=(3, 6, 6))
class Spectrum(nn.Module):
    """Complex values on the way: a Fourier transform and its magnitude."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), kit.relu(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.fft.rfft2(self.relu(self.conv(x))).abs().mean((2, 3)))


@construct(shape=(6,))
class RandomisedLeakyInEval(nn.Module):
    """nn.RReLU draws only in training; in eval mode it is a leaky ReLU."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.act, self.relu, self.b = nn.Linear(6, 5), nn.RReLU(), kit.relu(), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.relu(self.act(self.a(x)) - 0.1))
