"""Steps of a DeepLIFT walk that are not linear: each holds multipliers between x and the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from reluxfast import ops
from reluxfast.errors import UnsupportedNode
from reluxfast.graph.node import references
from reluxfast.ops.layout import from_memory_order, is_channels_last
from reluxfast.ops.packing import field_width, unpack_fields
from reluxfast.relevance.calls import CallStep
from reluxfast.relevance.deep_lift.operation import Operation
from reluxfast.relevance.deep_lift.pair import multiplier
from reluxfast.relevance.deep_lift.rules import Rule
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.lrp.signals import per_signal
from reluxfast.relevance.steps import Step, in_order


def changes_key(step: Step) -> str:
    """Where a watched step keeps the differences that its multipliers were divided by, in their order."""
    return f"{step.name} changes"


@dataclass
class RescaleStep(Step):
    """y = clamp(z, lo, hi), by the rescale rule: Δy/Δz, or lo < z < hi where abs(Δz) < eps."""

    eps: float = 0.0

    def forward(self, frame):
        z = frame.values[self.inputs[0]]
        lo, hi = self.node.attrs["lo"], self.node.attrs["hi"]
        y = z.clamp(lo, hi)
        if self.name in frame.keeps:
            other = frame.reference.values
            dz, gate = z - other[self.inputs[0]], ((z > lo) & (z < hi)).to(z.dtype)
            frame.saved[self.name] = [multiplier(y - other[self.name], dz, gate, self.eps)]
            if frame.watched:
                frame.saved[changes_key(self)] = [dz]
        return y

    def reverse(self, frame, g):
        return [(self.inputs[0], per_signal(frame.saved[self.name][0], g) * g, True)]


@dataclass
class RescalePoolStep(Step):
    """Max-pooling. With window results o and o', and c the larger, the winner at x gets (c - o')/Δx and the winner at
    the reference (o - c)/Δx of the signal; where abs(Δx) < eps, the winner at x gets all and the other nothing."""

    eps: float = 0.0

    @property
    def winners_key(self) -> str:
        """Where the winners are kept: (packed, elements) at x and at the reference, and two facts on the layout."""
        return f"{self.name} winners"

    @property
    def _window(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.node.attrs[name] for name in ("kernel", "stride", "padding", "dilation"))

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        keep = self.name in frame.keeps
        y, winner = self._pooled(x, keep)
        if keep:
            last = is_channels_last(y)
            there, _ = in_order(frame.reference.values[self.inputs[0]], last)
            o, other = self._pooled(there, True)
            best = torch.maximum(y, o)
            change = (x - there).flatten(2)
            own, its = (self._at(change, w, v, x.shape[2:]) for w, v in ((winner, y), (other, o)))
            one = torch.ones_like(y)
            won = multiplier(best - o, own, one, self.eps)
            lost = multiplier(y - best, its, torch.zeros_like(y), self.eps)
            frame.saved[self.name] = [won, lost]
            frame.saved[self.winners_key] = (winner, y.numel()), (other, o.numel()), tuple(x.shape[2:]), last
            if frame.watched:
                frame.saved[changes_key(self)] = [own, its]
        return y

    def _pooled(self, x: torch.Tensor, pack: bool) -> tuple[torch.Tensor, torch.Tensor]:
        x, _ = in_order(x, is_channels_last(x))
        return ops.max_pool_pack(x, *self._window, self.node.attrs["ceil_mode"], pack=pack)[:2]

    def _at(self, change: torch.Tensor, winner: torch.Tensor, y: torch.Tensor, spatial: torch.Size) -> torch.Tensor:
        """What is found at the winners: change (N, C, elements), winners of y (N or 1, C, *S) -> (N, C, *S)."""
        kernel, stride, padding, dilation = self._window
        taps = math.prod(kernel)
        fields = unpack_fields(winner, field_width(taps), y.numel())
        tap = from_memory_order(fields, y.shape, is_channels_last(y)).long()
        index = torch.zeros_like(tap)
        for i, (n, k, s, p, d) in enumerate(zip(spatial, kernel, stride, padding, dilation, strict=True)):
            taps //= k
            start = torch.arange(y.shape[2 + i], device=y.device) * s - p
            index = index * n + start.view(-1, *[1] * (len(kernel) - 1 - i)) + tap // taps % k * d
        index = index.flatten(2).expand(change.shape[0], -1, -1)
        return change.gather(2, index).unflatten(2, y.shape[2:])

    def reverse(self, frame, g):
        at_x, at_reference, spatial, last = frame.saved[self.winners_key]
        total = None
        for share, (winner, period) in zip(frame.saved[self.name], (at_x, at_reference), strict=True):
            signal, _ = in_order(per_signal(share, g) * g, last)
            part = ops.max_pool_scatter(signal, winner, None, spatial, *self._window, mode=0, period=period)
            total = part if total is None else total.add_(part)
        return [(self.inputs[0], total, True)]


@dataclass
class RescaleCallStep(CallStep):
    """Any other operation that is not linear, by a rule of `rules`; keeps its operands at x and at the reference."""

    rule: Rule | None = None
    eps: float = 0.0

    def forward(self, frame):
        if self.name in frame.keeps:
            other = frame.reference.values
            names = [n for n in self._operands() if n in frame.values]
            frame.saved[self.name] = {n: (frame.values[n], other[n]) for n in names}
        return self._run(frame)

    def reverse(self, frame, g):
        with torch.enable_grad():
            operation = self._operation(frame)
            made = self.rule(operation)
            signal = {0: g} if isinstance(g, torch.Tensor) else g
            results = (made,) if isinstance(made, torch.Tensor) else made
            if any(i >= len(results) for i in signal):
                raise UnsupportedNode(
                    self.node.op,
                    "there is no DeepLIFT rule for this result of the operation",
                    self.node.module_path,
                    self.node.source,
                    "deep_lift",
                )
            pairs = [(results[i], part.unflatten(0, (frame.times, -1))) for i, part in signal.items()]
        leaves = operation.leaves
        found = [self._transposed(pairs, list(leaves.values()), k) for k in range(frame.times)]
        joined = (torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True))
        return [(name, part, False) for name, part in zip(leaves, joined, strict=True)]

    def _transposed(self, pairs: list, leaves: list[torch.Tensor], k: int) -> Iterator[torch.Tensor]:
        outputs, signals = zip(*((made, part[k]) for made, part in pairs), strict=True)
        found = torch.autograd.grad(outputs, leaves, signals, retain_graph=True, allow_unused=True)
        return (torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True))

    def _operation(self, frame: Frame) -> Operation:
        saved = frame.saved[self.name]
        static = {n: self.static(n) for n in references(self.node) if n not in saved}
        value = {n: v for n, (v, _) in saved.items()} | static
        reference = {n: v for n, (_, v) in saved.items()} | static
        leaves = {n: ((value[n] + reference[n]) / 2).requires_grad_() for n in self.inputs}

        def run(others: dict[str, Any]) -> Any:
            return self._run(Frame(frame.rows, values={**frame.values, **value, **others}))

        return Operation(self.node, run, value, reference, leaves, self.eps)
