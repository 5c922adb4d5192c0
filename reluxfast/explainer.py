"""Explainer: a model captured once, explained as often as wanted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from reluxfast import ops
from reluxfast.attribution import Attribution
from reluxfast.balance import Balance
from reluxfast.captured import Captured, Model, captured, original
from reluxfast.errors import InvalidInput
from reluxfast.games import explain_captured
from reluxfast.methods import COALITION_METHODS, METHODS
from reluxfast.methods.inputs import as_tuple, check_like, warn_not_finite
from reluxfast.methods.lrp import assignment
from reluxfast.methods.options import check_options, defaults
from reluxfast.methods.run import Outcome, Run, Seed
from reluxfast.relevance.walk import Tape


class Explainer:
    """A model and how it is explained. Safe to use from several threads; the model is never modified.

    Args:
        model: an nn.Module (explained as if in eval mode) or a torch.export.ExportedProgram.
        example_inputs: Tensor (N, ...) or a tuple of Tensors; only row shapes, dtypes and device matter.
        backend: "auto", "reference", "cpp", "triton" or "cuda".
        precision: "float32": IEEE float32 (float64 where the inputs are float64; half types are computed in
            float32); "float64": computes in float64.
        memory_budget: bytes; batches are split so that the estimated peak stays below it. None: no limit.

    Raises:
        UnsupportedNode: the model has a part that cannot be explained rightly.
        InvalidInput: an argument breaks a rule.
        BackendUnavailable: the backend is not there.
    """

    def __init__(
        self,
        model: Model,
        example_inputs: torch.Tensor | tuple[torch.Tensor, ...],
        backend: str = "auto",
        precision: str = "float32",
        memory_budget: int | None = None,
    ):
        if not isinstance(model, (nn.Module, torch.export.ExportedProgram)):
            raise InvalidInput(
                "model",
                "must be an nn.Module or an exported program",
                type(model).__name__,
                "Wrap a function in a Module",
            )
        self.model = original(model)
        self.backend = backend
        with self._backend():
            pass  # an unknown or missing backend is an error here, not at the first call
        self._captured = Captured(self.model, as_tuple(example_inputs, "example_inputs"), precision, memory_budget)

    def attribute(
        self,
        x: torch.Tensor | tuple[torch.Tensor, ...],
        target: Any = None,
        method: str = "gradient",
        **options: Any,
    ) -> Attribution:
        """Explains the outputs of `x`.

        Args:
            x: Tensor (N, ...) or a tuple of Tensors, shaped like the example but for N.
            target: None (one output per row), int, integer Tensor or array (N,), list of N ints, tuple index, list of N
                tuples, or "all" (every class from one forward pass, values (N, K, ...)).
            method: one of `reluxfast.methods()`.
            **options: of the method.

        Raises:
            InvalidInput, UnsupportedNode, BackendUnavailable.
        """
        with self._backend():
            return attribute_captured(self._captured, x, target, method, options)

    def tape(self, x: torch.Tensor | tuple[torch.Tensor, ...], rule: str = "gradient") -> Tape:
        """The forward pass alone: what it keeps for a reverse walk under `rule`; `.nbytes` counts it."""
        with self._backend():
            engine = self._captured.engine()
            return engine.tape(prepared(self._captured, x)[1], rule, _native())

    def bare_calls(
        self, x: torch.Tensor | tuple[torch.Tensor, ...], method: str = "gradient", **options: Any
    ) -> list[Callable[[], torch.Tensor]]:
        """The convolution and matrix calls of forward and reverse for `x`, in walk order, on made-up data.

        What a walk cannot go below: everything else it does is overhead.
        """
        from reluxfast.relevance.floor import bare_calls  # only benchmarks ask

        with self._backend():
            engine = self._captured.engine()
            rules = assignment(engine.graph, **options) if method == "lrp" else None
            return bare_calls(engine, prepared(self._captured, x)[1], _native(), rules)

    def refresh(self) -> None:
        """Captures the model anew; needed only after changes that leave no trace.

        Replaced or updated parameters, buffers, modules and attributes are noticed by themselves. Single elements of
        large tensors (above 16384 elements) changed through `.data` or numpy are not. `reluxfast.refresh(model)` does
        the same for calls without an Explainer.
        """
        self._captured.refresh()

    @property
    def captured(self) -> Captured:
        """Graph, weights and engine behind this explainer; for the package's own use."""
        return self._captured

    def _backend(self):
        return ops.backend(self.backend) if self.backend != "auto" else nullcontext()


def attribute(
    model: Model | Explainer,
    x: torch.Tensor | tuple[torch.Tensor, ...],
    target: Any = None,
    method: str = "gradient",
    **options: Any,
) -> Attribution:
    """`Explainer(model, x).attribute(x, target, method, **options)` in one call; captures live as long as the model.

    Args:
        model: nn.Module, exported program or Explainer.
        x, target, method, options: see `Explainer.attribute`.
    """
    if isinstance(model, Explainer):
        return model.attribute(x, target, method, **options)
    if not isinstance(model, (nn.Module, torch.export.ExportedProgram)):
        raise InvalidInput("model", "must be an nn.Module, an exported program or an Explainer", type(model).__name__)
    return attribute_captured(captured(model, as_tuple(x)), x, target, method, options)


def attribute_captured(
    known: Captured,
    x: Any,
    target: Any,
    method: str,
    options: dict[str, Any],
    context: tuple[torch.Tensor, ...] = (),
    seed: Seed | None = None,
) -> Attribution:
    """Explains `x` with a captured model.

    Args:
        known: the model.
        x, target, method, options: see `Explainer.attribute`.
        context: the model's further arguments, (N, ...) of any dtype, that are not explained.
        seed: see `Run`; in the place of a target, which is then None.
    """
    if isinstance(method, str) and method in COALITION_METHODS:
        return explain_captured(known, x, target, method, options)
    function = METHODS.get(method) if isinstance(method, str) else None
    if function is None:
        raise InvalidInput("method", f"must be one of {', '.join((*METHODS, *COALITION_METHODS))}", repr(method))
    check_options(method, function, options)
    given, inputs = prepared(known, x, keep_history=bool(options.get("create_graph")))
    run = make_run(known, inputs, target, context, seed)
    if run.rows == 0:
        return _empty(known, given, x, run, method, options)
    warn_not_finite(given)
    outcome = function(run, **options)
    return _result(run, outcome, given, isinstance(x, tuple), target, method, options)


def make_run(
    known: Captured,
    inputs: list[torch.Tensor],
    target: Any,
    context: tuple[torch.Tensor, ...] = (),
    seed: Seed | None = None,
) -> Run:
    """A request on the model as it is now: `inputs` in the engine's dtype, the rest as in `attribute_captured`."""
    check_like(context, known.context, "context", len(inputs[0]))
    with torch.inference_mode(False):
        detached = [c.clone() if c.is_inference() else c.detach() for c in context]
    own = [c.to(known.dtype) if c.is_floating_point() else c for c in detached]
    return Run(known.engine(), _native(), inputs, target, known.path_of, context=own, seed=seed)


def run_method(
    known: Captured, engine: Any, inputs: list[torch.Tensor], target: Any, method: str, options: dict
) -> Outcome:
    """A method on another engine of the same model, values left in that engine's dtype."""
    return METHODS[method](Run(engine, _native(), inputs, target, known.path_of), **options)


def prepared(
    known: Captured, x: Any, keep_history: bool = False
) -> tuple[tuple[torch.Tensor, ...], list[torch.Tensor]]:
    """`x` as a tuple, checked against what was captured, and the same in the engine's dtype."""
    given = as_tuple(x)
    check_like(given, known.examples)
    inputs = []
    for item in given:
        with torch.inference_mode(False):
            # Inference tensors cannot take part in the exact VJPs of nodes without a rule.
            item = item.clone() if item.is_inference() else item if keep_history else item.detach()
            inputs.append(item.to(known.dtype))
    return given, inputs


def _native() -> bool:
    return ops.active_backend() != "reference"


def _result(
    run: Run, outcome: Outcome, given: tuple[torch.Tensor, ...], many: bool, target: Any, method: str, options: dict
) -> Attribution:
    explained = run.selected(outcome.output) if outcome.explained is None else outcome.explained
    finite = explained.isfinite()
    whole = bool(finite.all())
    if not whole:
        count = int((~finite).sum())
        warnings.warn(
            f"{count} explained output(s) are NaN or infinite; their attributions are NaN", UserWarning, stacklevel=5
        )

    def finish(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        if not whole:
            bad = ~finite.view(*finite.shape, *[1] * (value.dim() - finite.dim()))
            value = value.masked_fill(bad, float("nan"))
        return laid_out_like(value if outcome.attached else value.detach(), like)

    def packed(values: list[torch.Tensor] | None) -> Any:
        if values is None:
            return None
        if outcome.single:
            return finish(values[0], given[0])
        done = tuple(finish(v, g) for v, g in zip(values, given, strict=True))
        # One signal may have reached two inputs; results do not share memory.
        seen: set[int] = set()
        done = tuple(v.clone() if v.data_ptr() in seen or seen.add(v.data_ptr()) else v for v in done)
        return done if many else done[0]

    output = outcome.output.to(given[0].dtype).contiguous()
    if any(output.data_ptr() == g.data_ptr() for g in given):
        output = output.clone()  # a model that hands its input on
    return Attribution(
        values=packed(outcome.values),
        output=output,
        target=target,
        method=method,
        options={**defaults(METHODS[method]), **options, **outcome.facts},
        base_value=None if outcome.base_value is None else outcome.base_value.to(output.dtype),
        standard_error=packed(outcome.standard_error),
        n_evaluations=outcome.n_evaluations,
        balance=outcome.balance,
        layers=None if outcome.layers is None else _apart(outcome.layers, finite),
    )


def laid_out_like(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`value` in the dtype of an input, and where it has the input's shape in its memory format."""
    value = value.to(like.dtype)
    if value.shape == like.shape and like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        return value.contiguous(memory_format=torch.channels_last)
    return value.contiguous()


def _apart(layers: Mapping[str, Any], finite: torch.Tensor) -> dict[str, Any]:
    """Relevance inside the network, each in memory of its own, and NaN where the explained output is not finite."""
    seen: set[int] = set()
    whole = bool(finite.all())

    def own(value: Any) -> Any:
        if isinstance(value, list):
            return [own(v) for v in value]
        if not whole:
            bad = ~finite.view(*finite.shape, *[1] * (value.dim() - finite.dim()))
            value = value.masked_fill(bad, float("nan"))
        return value.clone() if value.data_ptr() in seen or seen.add(value.data_ptr()) else value

    return {name: own(value) for name, value in layers.items()}


def _empty(
    known: Captured, given: tuple[torch.Tensor, ...], x: Any, run: Run, method: str, options: dict
) -> Attribution:
    """An empty batch has an empty result, shaped like that of one row."""
    target, shape = run.target, run.engine.graph.nodes[run.engine.graph.output].shape
    if options.get("start") is None and run.seed is None:
        _ = run.flat  # a target that does not fit is an error here too
    one, context = (
        tuple(torch.zeros((1, *g.shape[1:]), dtype=g.dtype, device=g.device) for g in tensors)
        for tensors in (given, run.context)
    )
    seed = None if run.seed is None else lambda output, _: torch.zeros_like(output)
    first = [0] if isinstance(target, list) else target
    if isinstance(target, list) or isinstance(target, torch.Tensor):
        first = 0 if len(shape) == 2 else (0,) * (len(shape) - 1)
    row = attribute_captured(known, one if isinstance(x, tuple) else one[0], first, method, options, context, seed)

    def cut(v: Any) -> Any:
        if v is None or isinstance(v, torch.Tensor):
            return None if v is None else v[:0]
        if isinstance(v, dict):
            return {name: cut(value) for name, value in v.items()}
        if isinstance(v, Balance):
            rows = [
                replace(r, **{n: cut(t) for n, t in vars(r).items() if isinstance(t, torch.Tensor)}) for r in v.rows
            ]
            return Balance(rows, cut(v.logit), cut(v.at_input))
        return type(v)(cut(i) for i in v)

    return Attribution(
        values=cut(row.values),
        output=row.output[:0],
        target=target,
        method=method,
        options=row.options,
        base_value=cut(row.base_value),
        standard_error=cut(row.standard_error),
        n_evaluations=row.n_evaluations,
        balance=cut(row.balance),
        layers=cut(row.layers),
    )
