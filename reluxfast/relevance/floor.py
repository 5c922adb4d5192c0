"""The convolutions and matrix products of a walk alone: what the rest of the engine is measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from reluxfast.relevance.engine import Engine, numerics
from reluxfast.relevance.lrp.map_step import Bound, MapStep
from reluxfast.relevance.lrp.plan import Assignment
from reluxfast.relevance.maps import ConvMap, LinearMap, channels_last
from reluxfast.relevance.steps import ConvStep, LinearStep, Step

Call = Callable[[], torch.Tensor]
Map = ConvMap | LinearMap


def bare_calls(
    engine: Engine, inputs: Sequence[torch.Tensor], native: bool, rules: Assignment | None = None
) -> list[Call]:
    """One callable per convolution or matrix call of forward and reverse, in walk order, on random operands.

    The calls are the engine's own (same weights, layouts and chunks of rows); only what lies between them is missing.

    Args:
        engine, inputs, native: as for `Engine.walk`.
        rules: of a walk of relevance; None: a gradient walk.
    """
    planned = engine.planned(native, None, rules)
    plan = planned.plan
    rows = inputs[0].shape[0]
    outer, sizes = engine.batches(planned, rows)
    forwards, backwards = [], []
    for start in range(0, rows, outer):
        count = min(outer, rows - start)
        for part, size in sizes:
            for first in range(0, count, size):
                chunk = min(size, count - first)
                for step in part.steps:
                    ahead, back = _maps(step)
                    forwards += [_forward(engine, step, m, copies, chunk) for m, copies in ahead]
                    if step.name in plan.live:
                        backwards += [_backward(engine, step, m, chunk) for m in back]
    return [_quiet(call, engine.device) for call in (*forwards, *reversed(backwards))]


def _maps(step: Step) -> tuple[list[tuple[Map, int]], list[Map]]:
    """Maps that a step runs forward, each with how many copies of its input it reads, and maps that it runs back."""
    if isinstance(step, (ConvStep, LinearStep)):
        return [(step.map, 1)], [step.map]
    if not isinstance(step, MapStep):
        return [], []
    first = step.summand or [Bound("x", step.map)]
    sums = [b for one in step.passes if not one.constant for b in one.d]
    ahead = [(b.map, 2 if b.operand == "x+-" else 1) for b in (*first, *sums)]
    return ahead, [term.map for part in step.parts for term in part.terms]


def _operand(engine: Engine, name: str, rows: int) -> torch.Tensor:
    shape = [rows if size is None else size for size in engine.graph.nodes[name].shape]
    # Small and positive, so that no sum overflows and no value is denormal.
    return channels_last(torch.rand(shape, dtype=engine.dtype, device=engine.device) + 0.1)


def _forward(engine: Engine, step: Step, m: Map, copies: int, rows: int) -> Call:
    x = _operand(engine, step.inputs[0], rows)
    x = torch.cat([x] * copies, 1 if isinstance(m, ConvMap) else -1)
    return lambda: m.forward(x)


def _backward(engine: Engine, step: Step, m: Map, rows: int) -> Call:
    g = _operand(engine, step.name, rows)
    if isinstance(m, LinearMap):
        return lambda: m.backward(g)
    spatial = tuple(engine.graph.nodes[step.inputs[0]].shape[2:])
    return lambda: m.backward(g, spatial)


def _quiet(call: Call, device: torch.device) -> Call:
    def run() -> torch.Tensor:
        with numerics(device):
            return call()

    return run
