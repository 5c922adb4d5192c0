"""The steps of a plan: how one value is made, and how a signal at it is handed to its operands.

`forward` reads operands from the frame and returns the value; `reverse` takes the signal at the value and returns
(operand, signal, owned) triples, where an owned signal is fresh memory that the walk may write into.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch

from reluxfast import ops
from reluxfast.graph.node import Node
from reluxfast.ops.layout import is_channels_last, is_dense
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.maps import ConvMap, LinearMap

Signals = list[tuple[str, torch.Tensor, bool]]


@dataclass
class Step:
    """One operation of a plan.

    Attributes:
        node: the graph node whose value this step makes.
        inputs: operands that may receive a signal.
        in_place: whether the first operand's memory may be reused.
    """

    node: Node
    inputs: tuple[str, ...]
    in_place: bool = False
    makes_fresh: ClassVar[bool] = False  # the value is dense memory nobody else holds
    takes_skip: ClassVar[bool] = False  # `reverse` adds a second signal itself, and may write into the first
    reuses_first: ClassVar[bool] = False  # `forward` may write into the first operand where `in_place` says so

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def reads(self) -> set[str]:
        """Values that `forward` reads."""
        return set(self.inputs)

    def reusable(self, frame: Frame) -> Iterable[torch.Tensor]:
        """What this step kept in memory taken from `frame.spare`."""
        return ()

    def forward(self, frame: Frame) -> torch.Tensor:
        raise NotImplementedError

    def reverse(self, frame: Frame, g: torch.Tensor) -> Signals:
        raise NotImplementedError


@dataclass
class ConvStep(Step):
    """y = conv(x) + b, batch norm folded in."""

    map: ConvMap | None = None
    makes_fresh = True

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        if self.name in frame.keeps:
            frame.saved[self.name] = (tuple(x.shape[2:]),)
        return self.map.forward(x)

    def reverse(self, frame, g):
        (spatial,) = frame.saved[self.name]
        return [(self.inputs[0], self.map.backward(g, spatial), True)]


@dataclass
class LinearStep(Step):
    """y = x Wᵀ + b, batch norm folded in."""

    map: LinearMap | None = None
    makes_fresh = True

    def forward(self, frame):
        return self.map.forward(frame.values[self.inputs[0]])

    def reverse(self, frame, g):
        return [(self.inputs[0], self.map.backward(g), True)]


@dataclass
class AffineStep(Step):
    """y = x * scale + shift per channel: a batch norm that could not be folded."""

    scale: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    makes_fresh = True

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        y = torch.addcmul(_per_channel(self.shift, x), x, _per_channel(self.scale, x))
        return (y,) if self.node.attrs["tuple"] else y

    def reverse(self, frame, g):
        g = g[0] if self.node.attrs["tuple"] else g
        return [(self.inputs[0], g * _per_channel(self.scale, g), True)]


def _per_channel(v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return v.view(1, -1, *[1] * (x.dim() - 2))


@dataclass
class GateStep(Step):
    """y = clamp(x [+ residual], lo, hi); keeps one bit per element, lo < x < hi.

    With lo = 0 (ReLU, ReLU6) the walk follows the rule; other bounds are walked as the plain gradient.
    """

    residual: str | None = None
    makes_fresh = True
    takes_skip = True
    reuses_first = True

    def mode(self, rule: str) -> int:
        """How the reverse walk gates the signal here, as in `ops.gate`."""
        return ops.MODES[rule if self.node.attrs["lo"] == 0 else "gradient"]

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        residual = frame.values[self.residual] if self.residual else None
        keep = self.name in frame.keeps
        pack = keep and bool(self.mode(frame.rule) & 1)
        lo, hi = self.node.attrs["lo"], self.node.attrs["hi"]
        if self.in_place:
            y, mask = x, ops.relu_pack_(x, residual=residual, lo=lo, hi=hi, pack=pack)
        else:
            y, mask = ops.relu_pack(x, residual=residual, lo=lo, hi=hi, pack=pack)
        if keep:
            frame.saved[self.name] = (mask, y.numel(), is_channels_last(y))
        return y

    def reverse(self, frame, g, skip=None, owned=False):
        mask, period, last = frame.saved[self.name]
        mode = self.mode(frame.rule)
        g, owned = in_order(g, last, owned)
        mask = mask if mode & 1 else None
        if owned:
            ops.gate_(g, mask, skip, mode, period)
        else:
            g = ops.gate(g, mask, skip, mode, period)
        if self.residual is None:
            return [(self.inputs[0], g, True)]
        # Two operands read the same signal: neither may write into it.
        return [(self.inputs[0], g, False), (self.residual, g, False)]


@dataclass
class PoolStep(Step):
    """Max-pooling that keeps 2 or 4 bits per window; `relu` = the ReLU in front is part of it."""

    relu: bool = False
    makes_fresh = True

    def mode(self, rule: str) -> int:
        """As in `ops.max_pool_scatter`: 0 where no ReLU is fused."""
        return ops.MODES[rule] if self.relu else 0

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        a = self.node.attrs
        keep = self.name in frame.keeps
        y, winner, mask = ops.max_pool_pack(
            x, a["kernel"], a["stride"], a["padding"], a["dilation"], a["ceil_mode"], relu=self.relu, pack=keep
        )
        if keep:
            if not self.mode(frame.rule) & 1:
                mask = None
            frame.saved[self.name] = (winner, mask, tuple(x.shape[2:]), y.numel(), is_channels_last(y))
        return y

    def reverse(self, frame, g):
        winner, mask, spatial, period, last = frame.saved[self.name]
        g, _ = in_order(g, last)
        a = self.node.attrs
        mode = self.mode(frame.rule)
        args = (a["kernel"], a["stride"], a["padding"], a["dilation"])
        return [(self.inputs[0], ops.max_pool_scatter(g, winner, mask, spatial, *args, mode=mode, period=period), True)]


@dataclass
class AddStep(Step):
    """y = a + b of two values of one shape."""

    makes_fresh = True

    def forward(self, frame):
        a, b = (frame.values[n] for n in self.inputs)
        return a + b

    def reverse(self, frame, g):
        return [(self.inputs[0], g, False), (self.inputs[1], g, False)]


def in_order(g: torch.Tensor, last: bool, owned: bool = False) -> tuple[torch.Tensor, bool]:
    """`g` dense in channels-last (`last`) or contiguous order, and whether it is memory of our own."""
    if is_dense(g) and is_channels_last(g) == last:
        return g, owned
    return (g.movedim(1, -1).contiguous().movedim(-1, 1) if last else g.contiguous()), True


def is_relu(node: Node) -> bool:
    """A clamp that is exactly a ReLU."""
    return node.kind == "clamp" and node.attrs["lo"] == 0 and math.isinf(node.attrs["hi"])
