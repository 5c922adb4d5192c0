"""Ways of writing a network, each as a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.zoo.kit import FUNCTIONAL, INPLACE_MODULES, MODULES, Kit
from tests.zoo.registry import settle

SHAPE = (3, 8, 8)
CLASSES = 4


class Head(nn.Module):
    """What all end in: pool, two linear maps, a ReLU between them."""

    def __init__(self, kit: Kit, channels: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.linear1, self.relu, self.linear2 = nn.Linear(4 * channels, 8), kit.relu(), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.relu(self.linear1(torch.flatten(self.pool(x), 1))))


class Plain(nn.Module):
    """Every operation a module of its own, called once."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.relu1, self.pool = nn.Conv2d(3, 6, 3, padding=1), kit.relu(), nn.AvgPool2d(2)
        self.conv2, self.relu2, self.head = nn.Conv2d(6, 6, 3, padding=1), kit.relu(), Head(kit, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu2(self.conv2(self.pool(self.relu1(self.conv1(x))))))


class MaxPool(Plain):
    def __init__(self, kit: Kit):
        super().__init__(kit)
        self.pool = nn.MaxPool2d(2)


class OverlappingMaxPool(Plain):
    def __init__(self, kit: Kit):
        super().__init__(kit)
        self.pool = nn.MaxPool2d(3, 2, 1)


class ReusedInSequence(Plain):
    def __init__(self, kit: Kit):
        super().__init__(kit)
        self.relu2 = self.relu1


class Branches(nn.Module):
    """One ReLU for two branches, both of which are there before it is called."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1), kit.relu()
        self.head = Head(kit, 8)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.a(x), self.b(x)
        return self.head(torch.cat([self.relu(u), self.relu(v)], 1))


class Concatenation(Branches):
    def __init__(self, kit: Kit):
        super().__init__(kit)
        self.relu2 = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.relu(self.a(x)), self.relu2(self.b(x))], 1))


class ReusedConvolution(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.conv1(x))
        return self.head(self.relu2(self.conv2(self.conv2(x))))


class Residual(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.conv1(x))
        return self.head(self.relu2(self.conv2(x) + x))


class ResidualInPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.conv1(x))
        y = self.conv2(x)
        y += x
        return self.head(self.relu2(y))


class Mean(nn.Module):
    """Global pooling written as a mean."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.relu1, self.conv2, self.relu2 = (
            nn.Conv2d(3, 6, 3, padding=1),
            kit.relu(),
            nn.Conv2d(6, 6, 3, padding=1),
            kit.relu(),
        )
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.relu2(self.conv2(self.relu1(self.conv1(x)))).mean((2, 3)))


class BatchNorm(nn.Module):
    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), kit.relu()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), kit.relu()
        self.head = Head(kit, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.head(self.relu2(self.bn2(self.conv2(x))))


class BatchNormDefinedLast(BatchNorm):
    def __init__(self, kit: Kit):
        super().__init__(kit)
        del self.bn1, self.bn2
        self.bn1, self.bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)


class WithIdentity(Plain):
    """A module that Captum's LRP has no rule for."""

    def __init__(self, kit: Kit):
        super().__init__(kit)
        self.identity = nn.Dropout2d()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu2(self.conv2(self.identity(self.relu1(self.conv1(x))))))


@dataclass(frozen=True)
class Net:
    """Attributes:
    name: how it is written.
    make: kit -> network.
    kit: how its ReLUs are spelled.
    state: what is done with it: "" explained as it is, "half" in float16, "compiled" after torch.compile and a run,
        "twice" explained a second time by the same object.
    """

    name: str
    make: Callable[[Kit], nn.Module]
    kit: Kit = MODULES
    state: str = ""

    def built(self, kit: Kit | None = None) -> nn.Module:
        """The network in eval mode, float32, parameters from a seed."""
        with torch.random.fork_rng(devices=[]):
            model = self.make(kit or self.kit)
        return settle(model, 0).eval()


NETS = (
    Net("every operation a module, called once", Plain),
    Net("`F.relu(x)`", Plain, FUNCTIONAL),
    Net("`nn.ReLU(inplace=True)`", Plain, INPLACE_MODULES),
    Net("`nn.MaxPool2d` behind a ReLU", MaxPool),
    Net("the same, windows overlap", OverlappingMaxPool),
    Net("one ReLU, called in sequence", ReusedInSequence),
    Net("one ReLU on two branches", Branches),
    Net("a convolution called twice", ReusedConvolution),
    Net("residual `a + b`", Residual),
    Net("residual `a += b`", ResidualInPlace, INPLACE_MODULES),
    Net("`torch.cat` of two branches", Concatenation),
    Net("`x.mean((2, 3))`", Mean),
    Net("batch norm behind convolutions", BatchNorm),
    Net("batch norms defined last", BatchNormDefinedLast),
    Net("`nn.Dropout2d` between", WithIdentity),
    Net("compiled by `torch.compile`, already run", Plain, state="compiled"),
    Net("float16", Plain, state="half"),
    Net("a second call of the same object, with `module.rule`", Plain, state="twice"),
)
