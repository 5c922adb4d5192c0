"""The convolutions and matrix products of a walk alone: what the rest of the engine is measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from reluxfast.relevance.engine import Engine, numerics
from reluxfast.relevance.maps import channels_last
from reluxfast.relevance.steps import ConvStep, LinearStep, Step

Call = Callable[[], torch.Tensor]


def bare_calls(engine: Engine, inputs: Sequence[torch.Tensor], native: bool) -> list[Call]:
    """One callable per convolution or matrix call of forward and reverse, in walk order, on random operands.

    The calls are the engine's own (same weights, layouts and chunks of rows); only what lies between them is missing.
    """
    plan = engine.plan(native)
    rows = inputs[0].shape[0]
    outer, sizes = engine.batches((native, None, None), rows)
    forwards, backwards = [], []
    for start in range(0, rows, outer):
        count = min(outer, rows - start)
        for part, size in sizes:
            for first in range(0, count, size):
                chunk = min(size, count - first)
                for step in part.steps:
                    if isinstance(step, (ConvStep, LinearStep)):
                        forwards.append(_forward(engine, step, chunk))
                        if step.name in plan.live:
                            backwards.append(_backward(engine, step, chunk))
    return [_quiet(call, engine.device) for call in (*forwards, *reversed(backwards))]


def _operand(engine: Engine, name: str, rows: int) -> torch.Tensor:
    shape = [rows if size is None else size for size in engine.graph.nodes[name].shape]
    # Small and positive, so that no sum overflows and no value is denormal.
    return channels_last(torch.rand(shape, dtype=engine.dtype, device=engine.device) + 0.1)


def _forward(engine: Engine, step: Step, rows: int) -> Call:
    x = _operand(engine, step.inputs[0], rows)
    return lambda: step.map.forward(x)


def _backward(engine: Engine, step: Step, rows: int) -> Call:
    g = _operand(engine, step.name, rows)
    if isinstance(step, LinearStep):
        return lambda: step.map.backward(g)
    spatial = tuple(engine.graph.nodes[step.inputs[0]].shape[2:])
    return lambda: step.map.backward(g, spatial)


def _quiet(call: Call, device: torch.device) -> Call:
    def run() -> torch.Tensor:
        with numerics(device):
            return call()

    return run
