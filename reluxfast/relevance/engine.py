"""Runs a plan over any number of rows: outer batches, chunks in cache, several classes per forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch

from reluxfast.float32 import ieee_float32
from reluxfast.graph import Graph
from reluxfast.graph.weights import Weights
from reluxfast.progress import progress_bar
from reluxfast.relevance.deep_lift.plan import Rescale, make_rescale_plan
from reluxfast.relevance.lrp.plan import Assignment, make_relevance_plan
from reluxfast.relevance.lrp.signals import Account
from reluxfast.relevance.maps import channels_last
from reluxfast.relevance.plan import Plan, make_plan
from reluxfast.relevance.rows import check_rows
from reluxfast.relevance.schedule import (
    CPU_CHUNK_BYTES,
    RELEVANCE_CHUNK_BYTES,
    Part,
    merged,
    outer_rows,
    parts,
    peak_row_bytes,
)
from reluxfast.relevance.spare import Spare, keep_freed_pages
from reluxfast.relevance.walk import Tape, forward, release, reverse

_RELEVANCE_PLANS = 4
_PARTS = 4
_DIVISIONS = 16
# What makes another walk than that of a gradient out of a graph.
Rules = Assignment | Rescale
# (output rows, index of the first of them) -> seeds (times * rows, ...) and times, one pair per reverse walk
Seeds = Callable[[torch.Tensor, int], Iterator[tuple[torch.Tensor, int]]]


@dataclass(frozen=True)
class Planned:
    """A plan, its finest division, the bytes that one row needs at its worst moment, and those of a chunk's largest map
    on a CPU; and how it was divided for numbers of rows met so far."""

    plan: Plan
    fine: list[Part]
    peak: int
    chunk: int
    _divided: dict[tuple[int, int | None], list[tuple[Part, int]]] = field(default_factory=dict)

    def divided(self, rows: int, chunk_bytes: int | None) -> list[tuple[Part, int]]:
        """See `schedule.merged`."""
        key = (rows, chunk_bytes)
        found = self._divided.get(key)
        if found is None:
            if len(self._divided) >= _DIVISIONS:
                self._divided.clear()
            found = self._divided[key] = merged(self.fine, rows, chunk_bytes)
        return found


@dataclass
class Walked:
    """Result of forward and reverse passes over all rows.

    Attributes:
        output: (N, ...) output of the network.
        signals: stop -> (N, ...), or (N, K, ...) for several walks per row; 0 where the output does not depend on it.
        layers: values (N, ...) at the stops that are no inputs.
        accounts: of a walk of relevance that keeps them: first row, signals per row, and the account of each step.
        reference: (N, ...) or (1, ...) output at the reference of a walk that compares.
    """

    output: torch.Tensor
    signals: dict[str, torch.Tensor]
    layers: dict[str, torch.Tensor]
    accounts: list[tuple[int, int, dict[str, Account]]] = field(default_factory=list)
    reference: torch.Tensor | None = None


@dataclass
class Engine:
    """A graph with one state of its weights, ready to run. Safe to use from several threads.

    Attributes:
        graph: the captured graph.
        weights: its static values, in the dtype to compute in.
        device: where it runs.
        memory_budget: bytes that a run may use beyond weights and results, or None.
        chunk_dtype: dtype by whose size rows are cut into chunks; default the engine's own.
        differentiable: whether walks may be differentiated themselves: weights with their history, nothing in place.
        on_tape: called with every tape between forward and reverse (to compare or impose gates).
    """

    graph: Graph
    weights: Weights
    device: torch.device
    memory_budget: int | None = None
    chunk_dtype: torch.dtype | None = None
    differentiable: bool = False
    on_tape: Callable[[Tape], None] | None = None
    _plans: dict = field(default_factory=dict)
    _parts: dict = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.dtype

    def plan(self, native: bool, stops: frozenset[str] | None = None, rules: Rules | None = None) -> Plan:
        """The plan for these stops (default: the inputs), made once.

        With `rules` it carries relevance; few of those are remembered, as each holds weights of its own.
        """
        return self.planned(native, stops, rules).plan

    def planned(self, native: bool, stops: frozenset[str] | None, rules: Rules | None) -> Planned:
        """The plan with what is known of its size."""
        key = (native, stops, rules)
        with self._lock:
            if key in self._plans:
                self._plans[key] = self._plans.pop(key)  # the latest stands last
            else:
                of_relevance = [k for k in self._plans if k[2] is not None]
                if rules is not None and len(of_relevance) >= _RELEVANCE_PLANS:
                    del self._plans[of_relevance[0]]
                with self._numerics():
                    if rules is None:
                        plan = make_plan(self.graph, self.weights, native, stops)
                    elif isinstance(rules, Rescale):
                        plan = make_rescale_plan(self.graph, self.weights, native, rules, stops)
                    else:
                        plan = make_relevance_plan(self.graph, self.weights, native, rules, stops)
                size_of = self.chunk_dtype or self.dtype
                chunk = CPU_CHUNK_BYTES if rules is None else RELEVANCE_CHUNK_BYTES
                self._plans[key] = Planned(plan, parts(plan, size_of), peak_row_bytes(plan, size_of), chunk)
            return self._plans[key]

    def _spare(self, plan: Plan) -> Spare | None:
        """Memory for the tapes of a plan; on other devices, and under a budget, the allocator's own."""
        if self.device.type != "cpu" or self.memory_budget is not None:
            return None
        keep_freed_pages()
        return plan.spare

    def ending_at(self, value: str) -> Engine:
        """This engine for the part of the network that makes `value`, which becomes its output."""
        return self._part(("to", value), lambda: replace(self.graph, output=value))

    def starting_at(self, *values: str) -> Engine:
        """An engine for the part of the network behind `values`, which are its explained inputs, the last of all."""
        return self._part(("from", *values), lambda: self.graph.starting_at(*values))

    def _part(self, key: tuple[str, ...], made: Callable[[], Graph]) -> Engine:
        with self._lock:
            if key not in self._parts:
                if len(self._parts) >= _PARTS:
                    del self._parts[next(iter(self._parts))]
                self._parts[key] = replace(self, graph=made(), _plans={}, _parts={}, _lock=threading.Lock())
            return self._parts[key]

    def with_history(self) -> Engine:
        """An engine whose walks can be differentiated themselves, with respect to inputs and parameters."""
        weights = self.weights.with_history()
        return replace(self, weights=weights, differentiable=True, _plans={}, _parts={}, _lock=threading.Lock())

    def _numerics(self) -> AbstractContextManager[None]:
        return numerics(self.device, self.differentiable)

    def check_rows(self, rows: list, reference: Callable[[list[torch.Tensor]], torch.Tensor] | None) -> None:
        """Refuses a network whose rows influence each other, or that was captured wrongly (see `rows.check_rows`)."""
        with numerics(self.device):
            check_rows(make_plan(self.graph, self.weights, native=False), rows, reference)

    def batches(self, planned: Planned, rows: int) -> tuple[int, list]:
        """Rows per outer batch, and the parts with their rows per chunk."""
        fine, peak = planned.fine, planned.peak
        if self.graph.batch is not None:
            return self.graph.batch, planned.divided(self.graph.batch, None)
        outer = outer_rows(fine, peak, self.device, self.memory_budget) or max(rows, 1)
        outer = max(1, min(outer, max(rows, 1)))
        return outer, planned.divided(outer, planned.chunk if self.device.type == "cpu" else None)

    def tape(self, inputs: Sequence[torch.Tensor], rule: str, native: bool) -> Tape:
        """Forward pass over all rows at once (within one outer batch) and its tape."""
        with numerics(self.device):
            planned = self.planned(native, None, None)
            plan = planned.plan
            _, sizes = self.batches(planned, inputs[0].shape[0])
            return forward(plan, sizes, self.prepared(inputs), rule)[2]

    def outputs(self, inputs: Sequence[torch.Tensor], native: bool) -> torch.Tensor:
        """Output (N, ...) of the network."""
        return self.walk(inputs, None, "gradient", native).output

    def walk(
        self,
        inputs: Sequence[torch.Tensor],
        seeds: Seeds | None,
        rule: str,
        native: bool,
        stops: frozenset[str] | None = None,
        per_row: int | None = None,
        progress: str | None = None,
        rules: Rules | None = None,
        account: bool = False,
        reference: Sequence[torch.Tensor] | None = None,
    ) -> Walked:
        """Forward over all rows, and reverse walks from the seeds to the stops.

        Args:
            inputs: tensors (N, ...) in the engine's dtype, on its device.
            seeds: see `Seeds`; None runs forward only.
            rule: rule of the reverse walk.
            native: whether compiled kernels may be used.
            stops: where walks end; default the inputs.
            per_row: number of walks per row if the seeds make several (class-major), else None.
            rules: of a walk of relevance or multipliers; `rule` is then not looked at.
            account: whether to write down what became of relevance at every step.
            reference: inputs (N, ...) that a plan compares with; where they are one row expanded it is run once.
            progress: what to call the work in a progress bar (shown when it takes more than a second).
        """
        planned = self.planned(native, stops, rules)
        plan = planned.plan
        rows = inputs[0].shape[0]
        outer, sizes = self.batches(planned, rows)
        outputs, layers, signals, accounts = [], {}, {name: [] for name in plan.stops}, []
        shared = reference is not None and plan.row_by_row and all(v.stride(0) == 0 for v in reference)
        compared = []
        bar = None
        if progress is not None and rows > outer:
            bar = progress_bar(total=rows, desc=progress, unit="row")
        with self._numerics(), nullcontext() if bar is None else bar:
            for start in range(0, max(rows, 1), outer):
                count = min(outer, rows - start)
                chunk = self._rows(inputs, start, count, outer)
                beside = None
                if reference is not None:
                    beside = self._rows(reference, 0, 1, 1) if shared else self._rows(reference, start, count, outer)
                kept = rule if seeds else None
                output, seen, tape = forward(
                    plan, sizes, chunk, kept, account, self._spare(plan), beside, self.on_tape is not None
                )
                outputs.append(output[:count])
                if tape.reference is not None:
                    compared.append(tape.reference[:count])
                for name, value in seen.items():
                    layers.setdefault(name, []).append(value[:count])
                if seeds:
                    if self.on_tape is not None:
                        self.on_tape(tape)
                    self._collect(tape, seeds, output, start, count, per_row, inputs, seen, signals, accounts)
                    if self.on_tape is None and not self.differentiable:
                        release(tape)
                if bar is not None:
                    bar.update(count)
        return Walked(
            torch.cat(outputs) if len(outputs) > 1 else outputs[0],
            {n: torch.cat(v) if len(v) > 1 else v[0] for n, v in signals.items() if v},
            {n: torch.cat(v) if len(v) > 1 else v[0] for n, v in layers.items()},
            accounts,
            None if not compared else compared[0] if shared else torch.cat(compared),
        )

    def _collect(self, tape, seeds, output, start, count, per_row, inputs, seen, signals, accounts) -> None:
        pieces: dict[str, list[torch.Tensor]] = {name: [] for name in signals}
        shapes = {**dict(zip(self.graph.inputs, inputs, strict=True)), **seen}
        total = output.shape[0]
        for seed, times in seeds(output, start):
            found = reverse(tape, seed, times)
            for _, frames in tape.parts:
                first = start
                for frame in frames:
                    if frame.account:
                        accounts.append((first, times, dict(frame.account)))
                    first += frame.rows
            for name, kept in pieces.items():
                g = found.get(name)
                if g is None:
                    g = output.new_zeros(times * total, *shapes[name].shape[1:])
                kept.append(g.unflatten(0, (times, total))[:, :count] if per_row is not None else g[:count])
        for name, kept in pieces.items():
            if per_row is None:
                signals[name].append(kept[0])
            else:
                by_class = torch.cat(kept) if len(kept) > 1 else kept[0]
                signals[name].append(by_class.transpose(0, 1))

    def prepared(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Inputs in the layout the steps want."""
        return [channels_last(x) for x in inputs]

    def _rows(self, inputs: Sequence[torch.Tensor], start: int, count: int, outer: int) -> list[torch.Tensor]:
        chunk = [x[start : start + count] for x in inputs]
        if self.graph.batch is not None and count < outer:
            # Exported for one batch size only: fill up with copies of the last row, drop their results.
            chunk = [torch.cat([x, x[-1:].expand(outer - count, *x.shape[1:])]) for x in chunk]
        return self.prepared(chunk)

    def classes_per_walk(self, plan: Plan, rows: int, classes: int) -> int:
        """How many classes share one reverse walk."""
        if not plan.class_major:
            return 1
        largest = max((p.row_bytes for p in parts(plan, self.chunk_dtype or self.dtype)), default=1)
        limit = CPU_CHUNK_BYTES if self.device.type == "cpu" else 16 * CPU_CHUNK_BYTES
        if self.memory_budget is not None:
            limit = min(limit, self.memory_budget // 4)
        return max(1, min(classes, limit // max(largest * rows, 1)))


@contextmanager
def numerics(device: torch.device, differentiable: bool = False) -> Iterator[None]:
    """No autograd (unless `differentiable`), no autocast, IEEE float32, and no inference mode (exact VJPs need
    autograd); flags are put back."""
    precision = ieee_float32() if device.type == "cuda" else nullcontext()
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(differentiable and torch.is_grad_enabled()),
        torch.autocast(device.type, enabled=False),
        precision,
    ):
        yield
