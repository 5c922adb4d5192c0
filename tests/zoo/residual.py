"""Adds and concatenations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.zoo.kit import INPLACE_MODULES, Kit
from tests.zoo.registry import add, construct


class BasicBlock(nn.Module):
    """conv BN ReLU conv BN, `out += identity`, ReLU: one ReLU module for both."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu = kit.relu()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        identity = self.relu(self.stem(x))
        out = self.relu(self.bn1(self.conv1(identity)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.fc(self.relu(out).mean((2, 3)))


add("residual_block", BasicBlock, notes=BasicBlock.__doc__)
add("residual_block_inplace", BasicBlock, kit=INPLACE_MODULES)


class _Body(nn.Module):
    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act1, self.act2 = kit.relu(), kit.relu()
        self.fc = nn.Linear(4 * 36, 4)


def _body(name: str, notes: str, middle, width: int = 4) -> None:
    class Net(_Body):
        def __init__(self, kit: Kit):
            super().__init__(kit)
            self.fc = nn.Linear(width * 36, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(middle(self, self.a(x)).flatten(1))

    add(name, Net, shape=(3, 6, 6), notes=notes)


_body("add_out_of_place", "a + b", lambda m, h: m.act2(m.b(m.act1(h)) + h))
_body("add_identity_both_sides", "the ReLU's output feeds the branch and the add", lambda m, h: _post(m, m.act1(h)))
_body("add_three", "three summands", lambda m, h: m.act2(m.b(m.act1(h)) + h + m.b(h)))
_body("add_alpha", "torch.add with alpha", lambda m, h: m.act2(torch.add(m.b(m.act1(h)), h, alpha=-0.5)))
_body("add_itself", "h + h", lambda m, h: m.act2(m.b(m.act1(h + h))))
_body("add_same_relu", "relu(h) + relu(h) of one node", lambda m, h: (lambda r: m.b(r + r))(m.act1(h)))
_body("add_broadcast", "a (N, C, 1, 1) summand", lambda m, h: m.act2(m.b(h) + m.act1(h.mean((2, 3), keepdim=True))))
_body("add_scalar", "a constant summand before ReLU", lambda m, h: m.b(m.act1(h + 0.25) - 1))
_body("rsub", "scalar minus tensor", lambda m, h: m.b(m.act1(0.5 - h)))
_body("subtract", "a - b", lambda m, h: m.act2(m.b(m.act1(h)) - h))
_body("add_no_relu_between", "two adds in a row", lambda m, h: m.act2((h + m.b(h)) + (m.b(m.act1(h)) + h)))
_body("preactivation", "ReLU before the convolution, the sum stays signed", lambda m, h: h + m.b(m.act1(h)))
_body("add_then_two_relus", "two ReLUs of one sum", lambda m, h: (lambda s: m.b(m.act1(s)) - m.act2(s))(m.b(h) + h))
_body("concat", "concat of signed and ReLU outputs", lambda m, h: torch.cat([m.act1(h), m.b(m.act2(h))], 1), 8)
_body("concat_itself", "one tensor twice in a concat", lambda m, h: torch.cat([m.act1(h), m.b(h), m.act2(h)], 1), 12)
_body("concat_spatial", "concat along height", lambda m, h: torch.cat([m.act1(h), m.b(m.act2(h))], 2), 8)
_body("stack", "stack makes a new dimension", lambda m, h: torch.stack([m.act1(h), m.b(m.act2(h))], 1), 8)


def _post(m: _Body, r: Tensor) -> Tensor:
    return m.act2(m.b(r) + r)


@construct()
class Downsample(nn.Module):
    """A block with a strided 1x1 convolution and batch norm on the identity path."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.down = nn.Sequential(nn.Conv2d(3, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6))
        self.act, self.fc = kit.relu(), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.bn1(self.conv1(x)) + self.down(x)).mean([-2, -1]))


class _SharedSummands(nn.Module):
    def __init__(self, kit: Kit, gated: bool):
        super().__init__()
        self.u, self.h, self.v = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.act = kit.relu()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 4), nn.Linear(64, 4), nn.Linear(64, 4)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        u = self.act(self.u(x))
        h = self.act(self.h(x)) if self.gated else self.h(x)
        v = self.act(self.v(x))
        first, second, third = (h + u).flatten(1), (h + v).flatten(1), (u + h).flatten(1)
        return self.fc1(first) + self.fc2(second) + self.fc3(third)


for _gated in (False, True):
    add(
        f"shared_summands{'_gated' if _gated else ''}",
        lambda kit, gated=_gated: _SharedSummands(kit, gated),
        shape=(3, 6, 6),
        notes="several sums share summands: one signal goes to several places and must not be written into",
    )


@construct(shape=(3, 6, 6))
class SignalsInFiveDirections(nn.Module):
    """One value read by five consumers of every kind, two of them plain sums."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b, self.act1, self.act2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), kit.relu(), kit.relu()
        self.bn, self.pool, self.fc = nn.BatchNorm2d(4), nn.MaxPool2d(3, 1, 1), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        side = self.act1(self.b(h))
        total = (h + side) + self.act2(h) + self.pool(h) + self.bn(h) + (side + h)
        return self.fc(total.flatten(1))
