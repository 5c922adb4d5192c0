"""How many rows run at once: whole batches where maps are small, a few rows where they would fall out of the cache.

A plan is cut where a single value connects what is before with what is after. Each part runs in chunks of its own
size, so that early layers with large maps stay in cache (and below the size at which the allocator returns memory to
the system at every call), while late layers with large weights see the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reluxfast.errors import InvalidInput
from reluxfast.graph.node import Node
from reluxfast.relevance.calls import CallStep
from reluxfast.relevance.deep_lift.steps import RescaleCallStep, RescalePoolStep, RescaleStep
from reluxfast.relevance.lrp.map_step import MapStep
from reluxfast.relevance.lrp.signals import RelevanceStep
from reluxfast.relevance.plan import Plan
from reluxfast.relevance.steps import ConvStep, GateStep, LinearStep, PoolStep, Step

# Largest map of one chunk on a CPU: measured best where it fits the last-level cache share of two cores.
CPU_CHUNK_BYTES = 16 << 20
# A walk of relevance touches about twice as many maps at once.
RELEVANCE_CHUNK_BYTES = 8 << 20
# Weights above this fall out of the cache between two chunks.
HEAVY_WEIGHTS = 16 << 20
# Largest map of one outer batch: bounds what is kept between parts.
OUTER_BYTES = 256 << 20


@dataclass
class Part:
    """Steps between two cuts.

    Attributes:
        steps: in execution order.
        source: the one value that comes in from the part before, None for the first part.
        row_bytes: bytes of one row of its largest value.
        weight_bytes: bytes of the largest weight of one step.
        dies_after: step name -> values that nobody reads after it.
    """

    steps: list[Step]
    source: str | None
    row_bytes: int
    weight_bytes: int
    dies_after: dict[str, list[str]]

    @property
    def output(self) -> str:
        return self.steps[-1].name


def row_bytes(node: Node, dtype: torch.dtype) -> int:
    """Bytes of one row of a value; 0 where it has no batch dimension."""
    return node.row_elements * dtype.itemsize


def parts(plan: Plan, dtype: torch.dtype) -> list[Part]:
    """The finest useful division of a plan."""
    last_read = plan.last_reads()
    cuts, open_values = [], set(plan.graph.inputs)
    for i, step in enumerate(plan.steps):
        open_values.add(step.name)
        open_values = {n for n in open_values if last_read.get(n, -1) > i}
        node = step.node
        if open_values == {step.name} and node.batch_dim == 0 and plan.class_major:
            cuts.append(i + 1)
    if not plan.steps:
        return []  # the output is an input
    if not cuts or cuts[-1] != len(plan.steps):
        cuts.append(len(plan.steps))
    found, start, source = [], 0, None
    for end in cuts:
        steps = plan.steps[start:end]
        found.append(_part(plan, steps, source, dtype, last_read, start))
        start, source = end, steps[-1].name
    return found


def _part(plan: Plan, steps: list[Step], source: str | None, dtype: torch.dtype, last_read: dict, start: int) -> Part:
    largest = max(row_bytes(step.node, dtype) for step in steps)
    names = {step.name for step in steps} | ({source} if source else set(plan.graph.inputs))
    dies: dict[str, list[str]] = {}
    for name in names:
        last = last_read.get(name, -1) - start
        if last < len(steps) and name != steps[-1].name:
            dies.setdefault(steps[max(last, 0)].name, []).append(name)
    weights = (s.map.weight for s in steps if isinstance(s, (ConvStep, LinearStep, MapStep)))
    heaviest = max((w.numel() * dtype.itemsize for w in weights), default=0)
    return Part(steps, source, largest, heaviest, dies)


def merged(fine: list[Part], rows: int, chunk_bytes: int | None) -> list[tuple[Part, int]]:
    """Parts with the number of rows per chunk. Neighbours are joined, at the smaller of their sizes, unless one of
    them holds weights that would have to be read from memory again for every chunk."""
    result: list[tuple[Part, int]] = []
    for part in fine:
        size = rows
        if chunk_bytes is not None and part.row_bytes:
            size = max(1, min(rows, chunk_bytes // part.row_bytes))
        if result:
            before, its_size = result[-1]
            light = max(before.weight_bytes, part.weight_bytes) <= HEAVY_WEIGHTS
            if its_size == size or light:
                result[-1] = (_joined(before, part), min(size, its_size))
                continue
        result.append((part, size))
    return result


def _joined(a: Part, b: Part) -> Part:
    dies = {key: list(names) for key, names in a.dies_after.items()}
    for key, names in b.dies_after.items():
        dies.setdefault(key, []).extend(names)
    # What connected the two is now an inner value, read last where `b` says.
    return Part(a.steps + b.steps, a.source, max(a.row_bytes, b.row_bytes), max(a.weight_bytes, b.weight_bytes), dies)


def outer_rows(fine: list[Part], peak: int, device: torch.device, memory_budget: int | None) -> int | None:
    """Rows per outer batch; None for no limit.

    Args:
        fine: parts of the plan.
        peak: bytes that one row needs at its worst moment (see `peak_row_bytes`).
        device: where it runs.
        memory_budget: bytes, or None.
    """
    limit = None
    largest = max((p.row_bytes for p in fine), default=0)
    if device.type == "cpu" and largest:
        limit = max(1, OUTER_BYTES // largest)
    if memory_budget is not None:
        if peak > memory_budget:
            raise InvalidInput(
                "memory_budget",
                f"must hold at least one row ({peak} bytes)",
                memory_budget,
                "Raise it, or explain smaller inputs",
            )
        fitting = max(1, memory_budget // max(peak, 1))
        limit = fitting if limit is None else min(limit, fitting)
    return limit


def peak_row_bytes(plan: Plan, dtype: torch.dtype) -> int:
    """Bytes per row at the worst moment of forward and reverse: live values and what the tape keeps."""
    sizes = {node.name: row_bytes(node, dtype) for node in plan.graph}
    last_read = plan.last_reads()
    live = set(plan.graph.inputs)
    peak = tape = widest = 0
    for i, step in enumerate(plan.steps):
        live.add(step.name)
        operands = sum(sizes[n] for n in step.inputs)
        widest = max(widest, sizes[step.name] + operands)
        tape += _kept_bytes(step, sizes, dtype)
        peak = max(peak, (2 if plan.compares else 1) * sum(sizes[n] for n in live) + tape)
        live = {n for n in live if last_read.get(n, -1) > i}
    return max(peak, widest + max(sizes[n] for n in plan.graph.inputs) + tape)


def _kept_bytes(step: Step, sizes: dict[str, int], dtype: torch.dtype) -> int:
    elements = sizes[step.name] // dtype.itemsize
    if isinstance(step, GateStep):
        return elements // 8 + 4
    if isinstance(step, PoolStep):
        return elements * 3 // 4 + 8
    if isinstance(step, MapStep):
        return sizes[step.name] * len(step.parts)
    if isinstance(step, RelevanceStep | RescaleStep):
        return sizes[step.name]
    if isinstance(step, RescalePoolStep):
        return sizes[step.name] * 2 + elements * 3 // 2 + 8
    if isinstance(step, RescaleCallStep):
        return 2 * sum(sizes[n] for n in step.inputs)
    if isinstance(step, CallStep) and step.node.kind == "call":
        return sum(sizes[n] for n in step.inputs)
    return 0
