"""Networks for LRP: written as Captum needs them, and as people write them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.registry import settle

Rules = Callable[[nn.Module], Any]


class Mlp(nn.Module):
    """Tanh, dropout and a square map among ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.relu1, self.drop = nn.Linear(6, 8), nn.ReLU(), nn.Dropout()
        self.fc2, self.tanh, self.fc3 = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)
        self.relu2, self.fc4 = nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh(self.fc2(self.drop(self.relu1(self.fc1(x)))))
        return self.fc4(self.relu2(self.fc3(h)))


class Cnn(nn.Module):
    """Batch norms behind convolutions and elsewhere, in-place ReLUs, overlapping windows."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.BatchNorm2d(6),
            nn.AvgPool2d(2, 1),
            nn.AdaptiveAvgPool2d((1, 2)),
        )
        self.fc1, self.relu, self.fc2 = nn.Linear(12, 6), nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(torch.flatten(self.features(x), 1))))


class Pooled(nn.Module):
    """Maximum pools over 1 to 3 dimensions."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.fc1, self.relu = nn.Linear(6, 6), nn.ReLU()
        self.pool, self.fc2 = getattr(nn, f"MaxPool{dims}d")(2), nn.Linear(2 * 3**dims, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.flatten(self.pool(self.relu(self.fc1(x))), 1))


class TwoInputs(nn.Module):
    """Two inputs of different shapes, added and concatenated."""

    def __init__(self, add: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = nn.Linear(5, 4), nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(8, 3)
        self.relu1, self.relu2, self.relu3, self.add = nn.ReLU(), nn.ReLU(), nn.ReLU(), add

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        u, v = self.relu1(self.a(x)), self.relu2(self.b(y))
        return self.head(torch.cat([self.add(u, v), self.relu3(self.c(y))], 1))


class Volumes(nn.Module):
    """Layers that Captum has no default rule for, over 1 to 3 dimensions; each with a rule it works."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        of = {name: getattr(nn, f"{name}{dims}d") for name in ("Conv", "ConvTranspose", "BatchNorm", "AvgPool")}
        self.layers = nn.Sequential(
            of["Conv"](2, 3, 3, padding=1),
            of["BatchNorm"](3),
            nn.LeakyReLU(0.1),
            of["AvgPool"](2),
            of["ConvTranspose"](3, 4, 2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(4 * 3**dims, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Sequence(nn.Module):
    """Outputs (N, T, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.relu, self.fc2 = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(x)))


class Functional(nn.Module):
    """A residual network as people write it: one ReLU, a reused layer, `+=`, means and pools as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.b1, self.c2 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.mix, self.head = nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.max_pool2d(torch.relu(self.b1(self.c1(x))), 2)
        y = self.c2(h)
        y += h
        y = nn.functional.relu(y).mean((2, 3))
        y = self.relu(self.mix(self.relu(self.mix(y))))
        return self.head(y)


class Twin(nn.Module):
    """`Functional` as Captum needs it: each layer a module, used once."""

    def __init__(self, of: Functional, add: nn.Module) -> None:
        super().__init__()
        self.c1, self.b1, self.c2, self.mix1, self.head = map(copy.deepcopy, (of.c1, of.b1, of.c2, of.mix, of.head))
        self.mix2, self.pool, self.add, self.mean = copy.deepcopy(of.mix), nn.MaxPool2d(2), add, nn.AdaptiveAvgPool2d(1)
        self.relu1, self.relu2, self.relu3, self.relu4 = nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.relu1(self.b1(self.c1(x))))
        y = torch.flatten(self.mean(self.relu2(self.add(self.c2(h), h))), 1)
        return self.head(self.relu4(self.mix2(self.relu3(self.mix1(y)))))


def prepared(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Weights and running statistics drawn, in eval mode."""
    return settle(model, 3).to(dtype).eval()


def rows(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Three signed rows of each input."""
    generator = torch.Generator().manual_seed(7)
    return tuple(torch.randn(3, *shape, generator=generator).to(dtype) for shape in shapes)


def set_rules(model: nn.Module, rule_of: Rules) -> nn.Module:
    """Sets what `rule_of` gives for each module, None for no rule, as `module.rule`."""
    for module in model.modules():
        if "rule" in vars(module):
            del module.rule
        rule = rule_of(module)
        if rule is not None:
            module.rule = rule
    return model
