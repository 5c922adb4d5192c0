"""The engine against its float64 reference, method by method and layer by layer.

Rounding can flip a ReLU whose pre-activation is almost 0, and then a piecewise constant gradient jumps. Such a flip is
no error of the arithmetic and would hide one. So the reference, in float64, is given the gates that the engine found,
and what is compared is everything else; how many gates differ from the reference's own is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reluxfast import ops
from reluxfast.captured import Captured, Model, captured
from reluxfast.errors import InvalidInput
from reluxfast.explainer import Explainer, run_method
from reluxfast.games import explain_captured
from reluxfast.map_layers import map_layers
from reluxfast.methods import METHODS
from reluxfast.methods.inputs import as_tuple, check_like
from reluxfast.methods.run import Run
from reluxfast.player_maps import patches
from reluxfast.progress import progress_bar
from reluxfast.relevance.deep_lift.plan import has_rescale_plan
from reluxfast.relevance.deep_lift.steps import RescalePoolStep, RescaleStep, changes_key
from reluxfast.relevance.engine import Engine
from reluxfast.relevance.lrp.assign import relevance_everywhere
from reluxfast.relevance.lrp.gates import Bits, GatedStep
from reluxfast.relevance.steps import GateStep, PoolStep
from reluxfast.relevance.walk import Tape
from reluxfast.text import table
from reluxfast.top_targets import top_targets

# Worst deviation relative to the largest element: float32 sums of a few thousand terms through tens of layers.
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}
# Fewer points than by default: every point takes the same arithmetic.
_POINTS = {
    "integrated_gradients": {"n_steps": 5},
    "smooth_grad": {"n_samples": 3},
    "expected_gradients": {"n_samples": 3},
}
SHAPLEY = "shapley"
# Differences, as a share of the largest of a layer, at which DeepLIFT's multipliers are those of the engine; and by how
# much these differ from the reference's own to be counted.
_SMALL_CHANGE, _ROUNDED = 3e-2, 1e-4
_LAYERWISE = ("gradient", "guided_backprop", "deconvnet")


@dataclass(frozen=True)
class ReportRow:
    """One comparison.

    Attributes:
        method: attribution method, or "output" for the network's own output.
        backend: backend that was compared with the float64 reference.
        layer: module path for a layer's signal, "" for the final values.
        worst_relative_error: largest absolute difference divided by the largest magnitude of the reference.
        tolerance: what it may be.
        flipped_gates: share of ReLU gates and pool winners that rounding decided otherwise than float64.
    """

    method: str
    backend: str
    layer: str
    worst_relative_error: float
    tolerance: float
    flipped_gates: float

    @property
    def ok(self) -> bool:
        """Whether the error is within tolerance (NaN is not)."""
        return self.worst_relative_error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """All comparisons; `str(report)` is a table."""

    rows: list[ReportRow]

    @property
    def ok(self) -> bool:
        """Whether every comparison is within tolerance."""
        return all(row.ok for row in self.rows)

    def __str__(self) -> str:
        head = ("method", "backend", "layer", "worst rel. error", "tolerance", "flipped gates", "")
        body = [
            (
                r.method,
                r.backend,
                r.layer or "(values)",
                f"{r.worst_relative_error:.1e}",
                f"{r.tolerance:.0e}",
                f"{r.flipped_gates:.2e}",
                "ok" if r.ok else "WRONG",
            )
            for r in self.rows
        ]
        return table(head, body)


def validate(
    model: Model | Explainer,
    x: torch.Tensor | tuple[torch.Tensor, ...],
    methods: Sequence[str] | None = None,
    rtol: float | None = None,
    target: Any = None,
    layer: str | None = None,
) -> Report:
    """Runs `model` through the engine on every available backend and through the float64 reference.

    Args:
        model: nn.Module, exported program or Explainer.
        x: Tensor (N, ...) or tuple of Tensors.
        methods: names; default all (Grad-CAM methods need a layer with a map and are left out if there is none).
        rtol: tolerance; default 1e-5 for float32 and 1e-12 for float64.
        target: as for `attribute`; None with several outputs per row explains the largest.
        layer: for Grad-CAM; default the last convolution that returns a map (N, C, *S).

    Raises:
        InvalidInput, UnsupportedNode: as `attribute`.
    """
    given = as_tuple(x)
    known = model.captured if isinstance(model, Explainer) else captured(model, given)
    check_like(given, known.examples)
    if not given[0].shape[0]:
        raise InvalidInput("x", "must hold at least one row to compare", tuple(given[0].shape))
    chosen = [*METHODS, SHAPLEY] if methods is None else list(methods)
    for name in chosen:
        if name not in (*METHODS, SHAPLEY):
            raise InvalidInput("methods", f"must be among {', '.join((*METHODS, SHAPLEY))}", repr(name))
    if methods is None and len(given) > 1:
        chosen.remove(SHAPLEY)
    engine = known.engine()
    maps = map_layers(engine.graph)
    layer = layer or (maps[-1] if maps else None)
    if layer is None and methods is None:
        chosen = [name for name in chosen if not name.endswith("grad_cam")]
    elif methods is None and any(item.dim() != 4 for item in given):
        chosen.remove("guided_grad_cam")  # it multiplies images by a map
    if methods is None and not relevance_everywhere(engine.graph):
        chosen.remove("lrp")  # a node without an LRP rule
    if methods is None and not has_rescale_plan(engine.graph):
        chosen.remove("deep_lift")
    tolerance = TOLERANCES[known.dtype] if rtol is None else rtol
    if target is None:
        target = top_targets(known, given)
    rows: list[ReportRow] = []
    backends = [name for name, reason in ops.available_backends(given[0].device).items() if reason is None]
    work = [(backend, method) for backend in backends for method in chosen]
    narrow, wide = known.twin_engine(known.dtype), known.twin_engine(torch.float64)
    wide.chunk_dtype = known.dtype  # both cut the rows alike, so that tapes match piece by piece
    for backend, method in progress_bar(work, desc="validate", unit="method"):
        if method == SHAPLEY:
            rows.append(_compared_shapley(known, given[0], target, backend, tolerance))
            continue
        options = {"layer": layer} if method.endswith("grad_cam") else _POINTS.get(method, {})
        rows += _compared(known, narrow, wide, given, target, method, options, backend, tolerance)
    return Report(rows)


def _compared(
    known: Captured,
    engine: Engine,
    wide: Engine,
    given: tuple,
    target: Any,
    method: str,
    options: dict,
    backend: str,
    tolerance: float,
) -> Iterator[ReportRow]:
    gates = _Gates()
    engine.on_tape = gates.record
    wide.on_tape = gates.impose
    narrow_inputs = [g.detach().to(known.dtype) for g in given]
    wide_inputs = [item.double() for item in narrow_inputs]
    with ops.backend(backend):
        got = run_method(known, engine, narrow_inputs, target, method, options)
        layers = _layer_signals(known, engine, narrow_inputs, target, method)
    with ops.backend("reference"):
        want = run_method(known, wide, wide_inputs, target, method, options)
        wanted_layers = _layer_signals(known, wide, wide_inputs, target, method)
    if method == "gradient":
        yield ReportRow("output", backend, "", relative_error([got.output], [want.output]), tolerance, gates.share)
    yield ReportRow(method, backend, "", relative_error(got.values, want.values), tolerance, gates.share)
    for path, value in layers.items():
        yield ReportRow(method, backend, path, relative_error([value], [wanted_layers[path]]), tolerance, gates.share)


def _compared_shapley(known: Captured, x: torch.Tensor, target: Any, backend: str, tolerance: float) -> ReportRow:
    """A few orders of a few players, the same ones in both; there is no gate to impose, values are continuous."""
    options = {"players": _few_players(x), "estimator": "permutation", "n_evaluations": 3 * 2 * 15 + 1}
    with ops.backend(backend):
        got = explain_captured(known, x, target, SHAPLEY, options)
    with ops.backend("reference"):
        want = explain_captured(Captured(known.model, (x,), "float64"), x, target, SHAPLEY, options)
    # Values are differences of outputs, whose rounding they carry.
    scale = torch.cat([want.values.flatten(), want.output.flatten()])
    error = relative_error([torch.cat([got.values.flatten(), scale])], [torch.cat([want.values.flatten(), scale])])
    return ReportRow(SHAPLEY, backend, "", error, tolerance, 0.0)


def _few_players(x: torch.Tensor) -> torch.Tensor:
    """At most sixteen players, whatever the size of a row: patches of images, else elements in turn."""
    if x.dim() > 2:
        return patches(tuple(-(-size // (4 if x.dim() == 4 else 2)) for size in x.shape[2:])).of(x)
    return torch.arange(x[0].numel()).view(x.shape[1:]) % 16


def _layer_signals(
    known: Captured, engine: Engine, inputs: list[torch.Tensor], target: Any, method: str
) -> dict[str, torch.Tensor]:
    """Signal arriving at every ReLU's value, by a path that can be read."""
    if method not in _LAYERWISE:
        return {}
    graph = engine.graph
    needed = engine.plan(False).live
    names = {n.name: n for n in graph if n.kind == "clamp" and n.name in needed}
    run = Run(engine, ops.active_backend() != "reference", inputs, target, known.path_of)
    walked = run.walk(method, stops=frozenset(names) | frozenset(graph.explained))
    return {f"{node.module_path or 'root'}:{name}": walked.signals[name] for name, node in names.items()}


def relative_error(got: Sequence[torch.Tensor], want: Sequence[torch.Tensor]) -> float:
    """Largest absolute difference over the largest magnitude of `want`; 0 if both are all zero, inf if only one is."""
    worst = 0.0
    for a, b in zip(got, want, strict=True):
        if not b.numel():
            continue
        scale = float(b.double().abs().max())
        gap = float((a.double() - b.double()).abs().max())
        if gap != gap or scale != scale:
            return float("nan")
        worst = max(worst, 0.0 if gap == 0 else gap / scale if scale > 0 else float("inf"))
    return worst


class _Gates:
    """Gates found by one engine, given to another one in the same order."""

    def __init__(self) -> None:
        self.tapes: list[list[dict[str, tuple]]] = []
        self.position = self.flipped = self.total = 0

    @property
    def share(self) -> float:
        return self.flipped / self.total if self.total else 0.0

    def record(self, tape: Tape) -> None:
        self.tapes.append([dict(frame.saved) for frame in _frames(tape)])

    def impose(self, tape: Tape) -> None:
        recorded = self.tapes[self.position]
        self.position += 1
        steps = [s for part, _ in tape.parts for s in part.steps]
        gates = {s.name for s in steps if isinstance(getattr(s, "inner", s), (GateStep, PoolStep))}
        kept = {s.gates_key for s in steps if isinstance(s, GatedStep)}
        rescaled = [s for s in steps if isinstance(s, (RescaleStep, RescalePoolStep))]
        for frame, found in zip(_frames(tape), recorded, strict=True):
            for name in gates & frame.saved.keys():
                mine, theirs = frame.saved[name], found[name]
                for a, b in zip(mine, theirs, strict=True):
                    if isinstance(a, torch.Tensor) and a.dtype == torch.uint8 and a.numel():
                        self.flipped += _bits(a ^ b)
                        self.total += 8 * a.numel()
                frame.saved[name] = theirs
            for name in kept & frame.saved.keys():
                self._impose_numbers(frame.saved[name][0], found[name][0])
            for step in rescaled:
                if step.name in frame.saved:
                    self._impose_multipliers(step, frame.saved, found)

    def _impose_multipliers(self, step: RescaleStep | RescalePoolStep, mine: dict, theirs: dict) -> None:
        """A multiplier of DeepLIFT is a quotient, in which rounding of a small denominator counts many times."""
        other_winner = False
        if isinstance(step, RescalePoolStep):
            key = step.winners_key
            flipped = sum(_bits(a[0] ^ b[0]) for a, b in zip(mine[key][:2], theirs[key][:2], strict=True))
            self.flipped += flipped
            other_winner = flipped > 0  # then denominators are others, too
            mine[key] = theirs[key]
        numbers = mine[step.name], theirs[step.name], mine[changes_key(step)]
        for i, (a, b, change) in enumerate(zip(*numbers, strict=True)):
            if not a.numel():
                continue
            b, size = b.to(a.dtype), change.abs()
            small = size <= _SMALL_CHANGE * size.max()
            self.flipped += int((small & ((a - b).abs() > _ROUNDED)).sum())
            self.total += a.numel()
            numbers[0][i] = b if other_winner else torch.where(small, b, a)

    def _impose_numbers(self, mine: list, theirs: list) -> None:
        """A gate that is 0 in one engine only belongs to a ReLU that rounding flips."""
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if isinstance(a, Bits):
                self.flipped += _bits(a.mask ^ b.mask)
                self.total += 8 * a.mask.numel()
                mine[i] = b
            elif a is not None:
                b = b.to(a.dtype)
                self.flipped += int(((a == 0) != (b == 0)).sum())
                self.total += a.numel()
                mine[i] = torch.where((a == 0) | (b == 0), b, a)


def _bits(x: torch.Tensor) -> int:
    """Number of set bits of a uint8 tensor."""
    return sum(int(((x >> i) & 1).sum()) for i in range(8))


def _frames(tape: Tape) -> Iterator[Any]:
    for _, frames in tape.parts:
        yield from frames
