"""How a model spells its ReLUs: the same architecture can be built with any spelling, or with an oracle's own rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Kit:
    """Factories of activations; each call gives a new one, so that a model decides itself what it reuses.

    Attributes:
        relu: () -> activation with bounds (0, inf).
        relu6: () -> activation with bounds (0, 6).
        hardtanh: (lo, hi) -> activation with these bounds.
    """

    relu: Callable[[], Activation]
    relu6: Callable[[], Activation]
    hardtanh: Callable[[float, float], Activation]


MODULES = Kit(nn.ReLU, nn.ReLU6, nn.Hardtanh)
INPLACE_MODULES = Kit(
    lambda: nn.ReLU(inplace=True),
    lambda: nn.ReLU6(inplace=True),
    lambda lo, hi: nn.Hardtanh(lo, hi, inplace=True),
)
FUNCTIONAL = Kit(lambda: F.relu, lambda: F.relu6, lambda lo, hi: lambda x: F.hardtanh(x, lo, hi))


def spelled(relu: Activation) -> Kit:
    """A kit whose ReLU is this function."""
    return Kit(lambda: relu, FUNCTIONAL.relu6, FUNCTIONAL.hardtanh)


# Where the slope at exactly 0 is not 0 in torch itself, the value says what torch gives (methods.md, section 1).


def _zeroed(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0
    return x


SPELLINGS: dict[str, Activation] = {
    "F.relu": F.relu,
    "F.relu(inplace=True)": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(),
    "x.clamp(min=0)": lambda x: x.clamp(min=0),
    "x.clamp(0)": lambda x: x.clamp(0.0),
    "x.clamp_(min=0)": lambda x: x.clamp_(min=0),
    "torch.clip(x, min=0)": lambda x: torch.clip(x, min=0),
    "x.clamp_min(0)": lambda x: x.clamp_min(0),
    "x.clamp_min_(0)": lambda x: x.clamp_min_(0),
    "F.threshold(x, 0, 0)": lambda x: F.threshold(x, 0.0, 0.0),
    "F.threshold_(x, 0, 0)": lambda x: F.threshold_(x, 0.0, 0.0),
    "x * (x > 0)": lambda x: x * (x > 0),
    "(x > 0) * x": lambda x: (x > 0) * x,
    "x * (0 < x).to(x.dtype)": lambda x: x * (0 < x).to(x.dtype),
    "x * torch.gt(x, 0).type_as(x)": lambda x: x * torch.gt(x, 0).type_as(x),
    "torch.maximum(x, zeros_like)": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "torch.maximum(x, zeros(()))": lambda x: torch.maximum(x, torch.zeros((), dtype=x.dtype)),
    "torch.max(x, tensor(0))": lambda x: torch.max(x, torch.tensor(0.0, dtype=x.dtype)),
    "torch.max(zeros, x)": lambda x: torch.max(torch.zeros_like(x), x),
    "torch.where(x > 0, x, 0.0)": lambda x: torch.where(x > 0, x, 0.0),
    "torch.where(x > 0, x, zeros_like)": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "torch.where(x < 0, 0, x)": lambda x: torch.where(x < 0, 0.0, x),
    "x * (x >= 0)": lambda x: x * (x >= 0),
    "x.masked_fill(~(x > 0), 0)": lambda x: x.masked_fill(~(x > 0), 0.0),
    "x[x < 0] = 0": _zeroed,
    "torch.fmax(x, tensor(0))": lambda x: torch.fmax(x, torch.tensor(0.0, dtype=x.dtype)),
    "F.leaky_relu(x, 0)": lambda x: F.leaky_relu(x, 0.0),
    "F.hardtanh(x, 0, inf)": lambda x: F.hardtanh(x, 0.0, float("inf")),
}
