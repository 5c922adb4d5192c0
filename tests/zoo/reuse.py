"""One module used several times, one parameter under several names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import INPLACE_MODULES, Kit
from tests.zoo.registry import add, construct


@construct(shape=(10,))
class ReluInSequence(nn.Module):
    """One ReLU module called three times in sequence."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(10, 9), nn.Linear(9, 9), nn.Linear(9, 4)
        self.relu = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.relu(self.b(self.relu(self.relu(self.a(x))))))


class ReluOnBranches(nn.Module):
    """One ReLU on parallel branches, both inputs existing before either call: hooks pair them wrongly."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.relu = kit.relu()
        self.fc = nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.a(x), self.b(x)
        return self.fc(torch.cat([self.relu(u), self.relu(v)], 1).flatten(1))


add("relu_on_branches", ReluOnBranches, notes=ReluOnBranches.__doc__)
add("relu_on_branches_inplace", ReluOnBranches, kit=INPLACE_MODULES)


@construct(shape=(10,))
class ReluTwiceOnSameTensor(nn.Module):
    """One ReLU called twice on the very same tensor."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(10, 9), nn.Linear(9, 4), nn.Linear(9, 4)
        self.relu = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(self.relu(h)) + 2.0 * self.c(self.relu(h))


@construct()
class ReluOfDifferentShapes(nn.Module):
    """One ReLU called on tensors of different shapes, on parallel branches."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 3, 5, stride=2)
        self.relu = kit.relu()
        self.fc = nn.Linear(2 * 36 + 3 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.a(x), self.b(x)
        v, u = self.relu(v), self.relu(u)
        return self.fc(torch.cat([u.flatten(1), v.flatten(1)], 1))


@construct()
class ConvInSequence(nn.Module):
    """One convolution called twice in sequence."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act1, self.act2 = kit.relu(), kit.relu()
        self.fc = nn.Linear(3 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act2(self.conv(self.act1(self.conv(x)))).flatten(1))


@construct()
class ConvOnBranches(nn.Module):
    """One convolution on two branches of different sizes."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.pool, self.relu = nn.AvgPool2d(2), kit.relu()
        self.fc = nn.Linear(3 * 64 + 3 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.conv(x), self.conv(self.pool(x))
        return self.fc(torch.cat([self.relu(u).flatten(1), self.relu(v).flatten(1)], 1))


@construct(shape=(8,))
class LinearReused(nn.Module):
    """One linear layer in sequence and on parallel branches."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 4)
        self.relu = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.a(self.relu(self.a(x))))
        return self.b(self.a(h)) - self.b(self.relu(self.a(0.5 * x)))


@construct()
class SharedConvTwoNorms(nn.Module):
    """One convolution followed by two different batch norms: folding must be per call site."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.act1, self.act2 = kit.relu(), kit.relu()
        self.fc = nn.Linear(3 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act2(self.bn2(self.conv(self.act1(self.bn1(self.conv(x)))))).flatten(1))


@construct()
class ConvAndNormCalledTwice(nn.Module):
    """conv + BN called twice, as one block: folding into the shared parameter twice would be wrong."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), kit_module(kit))
        self.fc = nn.Linear(3 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(self.block(x)).flatten(1))


@construct()
class ConvUsedByNormAndElsewhere(nn.Module):
    """The convolution's own output is read beside its batch norm: it must not be folded away."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = kit.relu()
        self.fc = nn.Linear(4 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return self.fc((self.relu(self.bn(h)) + 0.3 * h).flatten(1))


@construct()
class ConvReadByTwoNorms(nn.Module):
    """One call of a convolution read by two batch norms."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.relu = kit.relu()
        self.fc = nn.Linear(8 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return self.fc(torch.cat([self.relu(self.bn1(h)), self.relu(self.bn2(h))], 1).flatten(1))


@construct()
class NormReused(nn.Module):
    """One batch norm after two convolutions."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.bn, self.relu = nn.BatchNorm2d(4), kit.relu()
        self.fc = nn.Linear(4 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.bn(self.conv2(self.relu(self.bn(self.conv1(x)))))).flatten(1))


@construct(shape=(9,))
class TiedLinear(nn.Module):
    """One parameter in two linear layers, and its transpose in a third place."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.encode, self.again = nn.Linear(9, 9), nn.Linear(9, 9)
        self.again.weight = self.encode.weight
        self.head = nn.Linear(9, 4)
        self.relu = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.again(self.relu(self.encode(x))))
        return self.head(self.relu(F.linear(h, self.encode.weight.t())))


@construct()
class TiedConvsWithNorms(nn.Module):
    """Two convolutions with one weight, each with a batch norm of its own."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.conv2.weight = self.conv1.weight
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.act1, self.act2 = kit.relu(), kit.relu()
        self.fc = nn.Linear(3 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))).flatten(1))


@construct()
class PoolReused(nn.Module):
    """One max-pool module used twice, as in the classic two-convolution net."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.pool, self.relu = nn.MaxPool2d(2), kit.relu()
        self.fc = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.pool(self.conv2(self.relu(self.pool(self.conv1(x)))))).flatten(1))


@construct(shape=(6,))
class RecurrentLoop(nn.Module):
    """A layer unrolled three times by a Python loop, fed by the input each time."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.state, self.drive, self.head = nn.Linear(7, 7), nn.Linear(6, 7), nn.Linear(7, 4)
        self.relu = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.drive(x))
        for _ in range(3):
            h = self.relu(self.state(h) + self.drive(x))
        return self.head(h)


def kit_module(kit: Kit) -> nn.Module:
    """The kit's ReLU as a module, whatever it is."""
    act = kit.relu()
    return act if isinstance(act, nn.Module) else Lambda(act)


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Tensor:
        return self.function(*xs)


add(
    "same_module_listed_twice",
    lambda kit: (lambda block: nn.Sequential(block, block, nn.Linear(8, 4)))(
        nn.Sequential(nn.Linear(8, 8), kit_module(kit))
    ),
    shape=(8,),
    notes="one block at two places of a Sequential",
)
