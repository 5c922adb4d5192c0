"""Steps for what has no kernel of its own: run as captured, walked by the exact VJP of that one node."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from reluxfast.errors import UnsupportedNode
from reluxfast.graph.node import references
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.steps import Signals, Step

_aten = torch.ops.aten
# The engine's memory layouts are its own, so a `view` may need a copy.
_AS_RESHAPE = (_aten.view.default, _aten._unsafe_view.default)
_ADAPTIVE = ("aten.adaptive_avg_pool2d", "aten._adaptive_avg_pool2d")
# Operations that only rename elements in row-major order: the VJP is a reshape.
_RESHAPES = set("view _unsafe_view reshape flatten unflatten unsqueeze squeeze contiguous clone alias dropout".split())


@dataclass(frozen=True)
class _Outline:
    """Shape of an operand whose values the VJP does not need."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass
class CallStep(Step):
    """Any operation, as captured. A linear one keeps shapes for its VJP, another one its operands.

    Attributes:
        static: static values by name.
        batched: operands whose dimension 0 is the batch.
    """

    static: Callable[[str], torch.Tensor] | None = None
    batched: frozenset[str] = field(default_factory=frozenset)

    @property
    def reads(self):
        return set(references(self.node))

    def forward(self, frame):
        if self.name in frame.keeps:
            frame.saved[self.name] = {n: self._kept(n, frame.values[n]) for n in self._operands() if n in frame.values}
        return self._run(frame)

    def reverse(self, frame, g):
        saved = frame.saved[self.name]
        if self.node.op.rpartition(".")[2] in _RESHAPES:
            (x,) = self.inputs
            return [(x, g.reshape(self._shape(x, saved[x], frame.times)), False)]
        differentiable = torch.is_grad_enabled()
        if not differentiable and self.node.op in _ADAPTIVE and g.device.type == "cpu" and g.dim() == 4:
            # Autograd would make the forward pass anew only to come to this call.
            (x,) = self.inputs
            shape = self._shape(x, saved[x], frame.times)
            like = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=torch.channels_last)
            return [(x, _aten._adaptive_avg_pool2d_backward.default(g, like), True)]
        with torch.enable_grad():
            leaves = {n: self._leaf(n, saved[n], frame, differentiable) for n in self.inputs}
            others = {n: self._repeated(n, v, frame.times) for n, v in saved.items() if n not in self.inputs}
            values = Frame(frame.rows, times=frame.times, values={**frame.values, **others, **leaves})
            y = self._run(values)
            pairs = [(y, g)] if isinstance(y, torch.Tensor) else [(y[i], part) for i, part in g.items()]
            pairs = [(out, signal) for out, signal in pairs if out.requires_grad]
            if not pairs:
                raise UnsupportedNode(
                    self.node.op,
                    "the operation has no derivative",
                    self.node.module_path,
                    self.node.source,
                    frame.rule,
                    "Detach its operand if no gradient is meant to pass",
                )
            flat = [(n, i, t) for n, v in leaves.items() for i, t in _parts(v)]
            found = torch.autograd.grad(
                [out for out, _ in pairs],
                [t for *_, t in flat],
                [s for _, s in pairs],
                allow_unused=True,
                create_graph=differentiable,
            )
        signals: Signals = []
        for (name, index, _), grad in zip(flat, found, strict=True):
            if grad is not None:
                signals.append((name, grad if index is None else {index: grad}, False))
        return signals

    def _operands(self) -> list[str]:
        return list(dict.fromkeys(references(self.node)))

    def _run(self, frame: Frame) -> Any:
        args, kwargs = frame.resolve((self.node.args, self.node.kwargs), self.static)
        target = _aten.reshape.default if self.node.target in _AS_RESHAPE else self.node.target
        return target(*args, **kwargs)

    def _kept(self, name: str, value: Any) -> Any:
        if self.node.kind != "linear_call" or name not in self.inputs:
            return value
        if isinstance(value, torch.Tensor):
            return _Outline(tuple(value.shape), value.dtype, value.device)
        return [self._kept(name, part) for part in value]

    def _shape(self, name: str, outline: _Outline, times: int) -> tuple[int, ...]:
        if times == 1 or name not in self.batched:
            return outline.shape
        return (outline.shape[0] * times, *outline.shape[1:])

    def _leaf(self, name: str, kept: Any, frame: Frame, differentiable: bool) -> Any:
        if isinstance(kept, (list, tuple)):
            return [self._leaf(name, part, frame, differentiable) for part in kept]
        if isinstance(kept, _Outline):
            shape = self._shape(name, kept, frame.times)
            leaf = torch.empty(shape, dtype=kept.dtype, device=kept.device)
        else:
            leaf = self._repeated(name, kept, frame.times)
            if differentiable and leaf.requires_grad:
                return leaf.view_as(leaf)  # the VJP stays a function of the operand
            leaf = leaf.detach()
        return leaf.requires_grad_(leaf.is_floating_point() or leaf.is_complex())

    def _repeated(self, name: str, value: Any, times: int) -> Any:
        if times == 1 or name not in self.batched or not isinstance(value, torch.Tensor):
            return value
        return value.repeat(times, *[1] * (value.dim() - 1))


@dataclass
class ItemStep(Step):
    """One of several results of an operation."""

    @property
    def index(self) -> int:
        return self.node.args[1]

    def forward(self, frame):
        return frame.values[self.inputs[0]][self.index]

    def reverse(self, frame, g):
        return [(self.inputs[0], {self.index: g}, False)]


@dataclass
class AuxStep(Step):
    """A value that carries no gradient: a mask, an index, a tensor made from shapes, a number."""

    static: Callable[[str], torch.Tensor] | None = None

    @property
    def reads(self):
        return set(references(self.node))

    def forward(self, frame):
        args, kwargs = frame.resolve((self.node.args, self.node.kwargs), self.static)
        return self.node.target(*args, **kwargs)


def is_item(step_target: Any) -> bool:
    """Whether a call picks one of several results."""
    return step_target is operator.getitem


def _parts(value: Any) -> list[tuple[int | None, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(None, value)]
    return [(i, t) for i, t in enumerate(value) if isinstance(t, torch.Tensor) and t.requires_grad]
