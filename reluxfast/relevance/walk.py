"""The forward pass that keeps almost nothing, and the reverse walk under a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from reluxfast.errors import UnsupportedNode
from reluxfast.relevance.calls import AuxStep
from reluxfast.relevance.frame import Frame, may_write
from reluxfast.relevance.plan import Plan
from reluxfast.relevance.schedule import Part
from reluxfast.relevance.spare import Spare
from reluxfast.relevance.steps import Step


@dataclass
class Tape:
    """What the reverse walk needs from a forward pass over some rows.

    Attributes:
        plan: the plan that ran.
        rule: the rule it was kept for.
        rows: number of rows.
        parts: per part its frames, one per chunk of rows, in row order.
        reference: output of the pass that this one was compared with, if any.
    """

    plan: Plan
    rule: str
    rows: int
    parts: list[tuple[Part, list[Frame]]] = field(default_factory=list)
    reference: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all memory kept between the forward pass and the reverse walk (each storage counted once)."""
        storages = {}
        for _, frames in self.parts:
            for frame in frames:
                for tensor in frame.tensors():
                    storage = tensor.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
        return sum(storages.values())


def forward(
    plan: Plan,
    sizes: Sequence[tuple[Part, int]],
    inputs: Sequence[torch.Tensor],
    rule: str | None,
    account: bool = False,
    spare: Spare | None = None,
    reference: Sequence[torch.Tensor] | None = None,
    watched: bool = False,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], Tape]:
    """Runs the network on some rows.

    Args:
        plan: what to run.
        sizes: its parts with rows per chunk.
        inputs: one tensor (N, ...) per input of the graph.
        rule: rule of the reverse walk to keep for; None keeps nothing.
        account: whether the reverse walk is to write down what becomes of relevance.
        spare: memory for what is kept; see `release`.
        reference: of a plan that compares, the inputs to compare with: as many rows, or one for all.
        watched: whether what is kept will be compared with another engine's.

    Returns:
        The output (N, ...), the values at the plan's stops (those that are no inputs), and the tape.
    """
    rows = inputs[0].shape[0]
    tape = Tape(plan, rule or "", rows)
    keeps = plan.live if rule else frozenset()
    wanted = plan.stops - set(plan.graph.inputs)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in wanted}
    carried: dict[str, torch.Tensor] = dict(zip(plan.graph.inputs, inputs, strict=True))
    beside = None if reference is None else dict(zip(plan.graph.inputs, reference, strict=True))
    for part, size in sizes:
        frames, results, compared = [], [], []
        for start in range(0, rows, max(size, 1)):
            whole = size >= rows
            values = {n: v if whole else v[start : start + size] for n, v in carried.items()}
            frame = Frame(min(size, rows - start), rule or "gradient", keeps, values=values)
            frame.account = {} if account else None
            frame.spare, frame.watched = spare or frame.spare, watched
            if beside is not None:
                frame.reference = _reference_frame(beside, start, frame)
            for step in part.steps:
                if frame.reference is not None:
                    frame.reference.values[step.name] = step.forward(frame.reference)
                frame.values[step.name] = step.forward(frame)
                if step.name in wanted:
                    seen[step.name].append(frame.values[step.name])
                for name in () if account else part.dies_after.get(step.name, ()):
                    frame.values.pop(name, None)
                    if frame.reference is not None:
                        frame.reference.values.pop(name, None)
            results.append(frame.values[part.output])
            if frame.reference is not None:
                compared.append(frame.reference.values[part.output])
                frame.reference = None
            if not account:
                frame.values = {n: v for n, v in frame.values.items() if isinstance(v, (int, float))}
            frames.append(frame)
        if rule:
            tape.parts.append((part, frames))
        carried = {part.output: results[0] if len(results) == 1 else torch.cat(results)}
        if beside is not None:
            shared = next(iter(beside.values())).shape[0] < rows
            whole = compared[0] if shared or len(compared) == 1 else torch.cat(compared)
            beside = {part.output: whole}
    layers = {n: v[0] if len(v) == 1 else torch.cat(v) for n, v in seen.items()}
    if beside is not None:
        tape.reference = beside[plan.output]
    return carried[plan.output], layers, tape


def _reference_frame(values: dict[str, torch.Tensor], start: int, frame: Frame) -> Frame:
    """The rows of the reference that belong to a frame; a single one belongs to all."""
    mine = {n: v if v.shape[0] == 1 else v[start : start + frame.rows] for n, v in values.items()}
    return Frame(next(iter(mine.values())).shape[0], values=mine)


def release(tape: Tape) -> None:
    """Hands the memory of a walk that has ended on to the next; the tape can be walked no more."""
    for part, frames in tape.parts:
        for frame in frames:
            for step in part.steps:
                for tensor in step.reusable(frame):
                    frame.spare.give(tensor)
            frame.saved.clear()


def reverse(tape: Tape, seeds: torch.Tensor, times: int = 1) -> dict[str, torch.Tensor]:
    """Walks signals from the output back to the plan's stops.

    Args:
        tape: of the forward pass.
        seeds: (times * N, ...) signals at the output, class-major.
        times: signals per row; above 1 only where the plan is class-major.

    Returns:
        Signals (times * N, ...) at each stop that is reached; a stop that the output does not depend on is missing.
    """
    plan = tape.plan
    signal: torch.Tensor | None = seeds
    found: dict[str, torch.Tensor] = {}
    if not plan.steps:
        return {plan.output: seeds}
    for part, frames in reversed(tape.parts):
        if signal is None:
            break
        start, pieces = 0, []
        for frame in frames:
            piece = signal if len(frames) == 1 else _rows(signal, times, tape.rows, start, frame.rows)
            frame.times = times
            pieces.append(_reverse_part(plan, part, frame, piece))
            frame.times = 1
            start += frame.rows
        joined = {name: _joined([p[name] for p in pieces], times) for name in pieces[0]}
        signal = joined.pop(part.source, None) if part.source else None
        found.update(joined)
    return found


def _reverse_part(plan: Plan, part: Part, frame: Frame, signal: torch.Tensor) -> dict[str, torch.Tensor]:
    """Signals at the part's source and at the stops inside it."""
    arrived: dict[str, list[tuple]] = {part.output: [(signal, False)]}
    ends: dict[str, torch.Tensor] = {}
    for step in reversed(part.steps):
        signals = arrived.pop(step.name, None)
        if not signals or step.name not in plan.live:
            continue
        if step.name in plan.stops:
            ends[step.name] = _total(signals)[0]
            signals = [(ends[step.name], False)]
        if isinstance(step, AuxStep):
            if step.name in plan.stops:
                continue  # integers lead here: nothing goes back beyond
            raise UnsupportedNode(step.node.op, "a signal reached a value without gradient", step.node.module_path)
        if step.takes_skip and frame.account is None:
            handed = _through_gate(step, frame, signals)
        else:
            total = _total(signals)[0]
            handed = step.reverse(frame, total)
            if frame.account is not None:
                frame.account[step.name] = step.accounted(frame, total, handed)
        for name, g, owned in handed:
            if name in plan.live:
                arrived.setdefault(name, []).append((g, owned and may_write()))
    for name in (part.source, *plan.graph.inputs):
        if name in arrived:
            ends[name] = _total(arrived[name])[0]
    return ends


def _through_gate(step: Step, frame: Frame, signals: list[tuple]) -> list[tuple]:
    """Adds the last two signals inside the gate's own pass."""
    owned = next((i for i, (_, own) in enumerate(signals) if own), 0)
    g, own = signals.pop(owned)
    if len(signals) > 1:
        skip = _total(signals)[0]
    else:
        skip = signals[0][0] if signals else None
    return step.reverse(frame, g, skip, own and may_write())


def _total(signals: list[tuple]) -> tuple:
    if len(signals) == 1:
        return signals[0]
    if isinstance(signals[0][0], dict):
        merged: dict[int, torch.Tensor] = {}
        for part, _ in signals:
            for index, g in part.items():
                merged[index] = merged[index] + g if index in merged else g
        return merged, False
    first = next((i for i, (_, own) in enumerate(signals) if own), None)
    if first is None:
        total = signals[0][0] + signals[1][0]
        rest = [g for g, _ in signals[2:]]
    else:
        total = signals[first][0]
        rest = [g for i, (g, _) in enumerate(signals) if i != first]
    for g in rest:
        total.add_(g)
    return total, True


def _rows(signal: torch.Tensor, times: int, rows: int, start: int, count: int) -> torch.Tensor:
    if times == 1:
        return signal[start : start + count]
    by_class = signal.unflatten(0, (times, rows))[:, start : start + count]
    return by_class.flatten(0, 1)


def _joined(pieces: list[torch.Tensor], times: int) -> torch.Tensor:
    if len(pieces) == 1:
        return pieces[0]
    if times == 1:
        return torch.cat(pieces)
    return torch.cat([p.unflatten(0, (times, -1)) for p in pieces], 1).flatten(0, 1)
