"""A `forward_func` as something that can be explained: a module through the engine, a function by autograd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from reluxfast.attribution import Attribution
from reluxfast.captured import Captured, captured, original
from reluxfast.compat.captum.bound import Bound
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import NotCaptured, Refused
from reluxfast.compat.captum.functions import function_gradients, function_outputs
from reluxfast.compat.captum.targets import checked
from reluxfast.errors import UnsupportedNode
from reluxfast.explainer import attribute_captured, make_run, prepared
from reluxfast.methods.inputs import check_like
from reluxfast.methods.run import Run, Seed

# Fixed arguments remembered for each attribution object.
_BOUND = 4
PathGradients = Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]


class ModuleForward:
    """A module, captured by the engine. Explained as if in eval mode; only read."""

    def __init__(self, module: nn.Module):
        self.module = original(module)
        self._bound: list[Bound] = []
        # Shapes of calls whose further arguments are fixed values although they have as many rows.
        self._fixed_at: set[tuple] = set()
        self._lock = threading.Lock()

    def captured(
        self, call: Call, integers: bool = False, any_output: bool = False
    ) -> tuple[Captured, tuple[torch.Tensor, ...]]:
        """The capture for a call, and the arguments that are its context: tensors with a row for each example.

        Other arguments are fixed values of the captured model, and so is a Tensor that happens to have as many rows, if
        the model does not take it by rows.

        Args:
            call: the arguments.
            integers: whether inputs may be integers; values behind them can then be asked for.
            any_output: whether the model may return several Tensors.

        Raises:
            NotCaptured: the model cannot be captured; an UnsupportedNode and a RuntimeError.
        """
        if not integers:
            call.refuse_integers()
        by_rows = tuple(isinstance(e, torch.Tensor) and e.dim() > 0 and len(e) == call.rows for e in call.extra)
        shapes = tuple((tuple(e.shape), e.dtype) for e in (*call.inputs, *call.extra) if isinstance(e, torch.Tensor))
        tried = [by_rows, (False,) * len(by_rows)] if any(by_rows) else [by_rows]
        if shapes in self._fixed_at:
            tried = tried[-1:]
        refusal: UnsupportedNode | None = None
        for along in tried:
            try:
                found = self._captured(call, along, any_output)
                if along != by_rows:
                    self._fixed_at.add(shapes)
                return found
            except UnsupportedNode as error:
                refusal = refusal or error
        e = refusal
        raise NotCaptured(e.op, e.reason, e.module_path, e.source, e.method, e.remedy) from None

    def _captured(self, call: Call, along: tuple[bool, ...], any_output: bool) -> tuple[Captured, tuple]:
        context = tuple(e for e, own in zip(call.extra, along, strict=True) if own)
        model = self.module
        slots = tuple(Bound.TENSOR if own else e for e, own in zip(call.extra, along, strict=True))
        if not all(along):
            model = self._bound_model(len(call.inputs), slots)
        tensors = (*call.inputs, *context)
        try:
            return captured(model, tensors, len(call.inputs)), context
        except UnsupportedNode as error:
            if error.op != "output" or not any_output:
                raise
        return captured(self._bound_model(len(call.inputs), slots, first=True), tensors, len(call.inputs)), context

    def _bound_model(self, inputs: int, arguments: tuple[Any, ...], first: bool = False) -> Bound:
        with self._lock:
            for known in self._bound:
                if known.fits(self.module, inputs, arguments, first):
                    return known
            self._bound = [*self._bound[-_BOUND + 1 :], Bound(self.module, inputs, arguments, first)]
            return self._bound[-1]

    def run(self, call: Call, seed: Seed | None = None, target: bool = True, integers: bool = False) -> Run:
        """A request on the captured model; with `target` its target is checked, else it may return several Tensors.

        Raises:
            AssertionError, IndexError: the target does not fit.
        """
        known, context = self.captured(call, integers, any_output=not target)
        if integers:
            check_like(call.inputs, known.examples)
            inputs = [x.detach().to(known.dtype) if x.is_floating_point() else x for x in call.inputs]
        else:
            inputs = prepared(known, call.inputs)[1]
        run = make_run(known, inputs, call.target, context, seed)
        if target:
            checked(call.target, self._output_shape(run), call.rows)
        return run

    def attributed(self, call: Call, method: str, options: dict[str, Any] | None = None) -> Attribution:
        """A method of the engine on a call."""
        known, context = self.captured(call)
        graph = known.engine().graph
        checked(call.target, graph.nodes[graph.output].shape, call.rows)
        return attribute_captured(known, call.inputs, call.target, method, options or {}, context)

    def gradients(self, call: Call) -> tuple[torch.Tensor, ...]:
        """Gradient of the explained outputs for each input, in its dtype."""
        return self.attributed(call, "gradient").values

    def path_gradients(self, call: Call) -> PathGradients:
        """Gradients for points (S * N, ...) in the place of the inputs."""
        run = self.run(call)
        return lambda points: run.input_signals(run.walk("gradient", [p.to(run.engine.dtype) for p in points]))

    def selected(self, call: Call) -> torch.Tensor:
        """The explained output (N,) of each row, in the dtype of the first input."""
        run = self.run(call, integers=True)
        return run.selected(run.outputs()).to(call.dtype or run.engine.dtype)

    @staticmethod
    def _output_shape(run: Run) -> tuple[int | None, ...]:
        graph = run.engine.graph
        return graph.nodes[graph.output].shape


class FunctionForward:
    """A function of tensors, called as it is; nothing inside it can be seen."""

    module = None

    def __init__(self, function: Callable):
        self.function = function

    def gradients(self, call: Call) -> tuple[torch.Tensor, ...]:
        """Gradient of the explained outputs for each input, in its dtype."""
        return function_gradients(self.function, call)

    def path_gradients(self, call: Call) -> PathGradients:
        """Gradients for points (S * N, ...) in the place of the inputs."""

        def gradients(points: list[torch.Tensor]) -> Sequence[torch.Tensor]:
            own = [p.to(x.dtype) for p, x in zip(points, call.inputs, strict=True)]
            found = function_gradients(self.function, call.repeated(own, len(points[0]) // call.rows))
            return [g.to(p.dtype) for g, p in zip(found, points, strict=True)]

        return gradients

    def selected(self, call: Call) -> torch.Tensor:
        """The explained output (N,) of each row."""
        with torch.no_grad():
            return function_outputs(self.function, call)


Forward = ModuleForward | FunctionForward


def forward_of(forward_func: Any) -> Forward:
    """What stands behind a `forward_func`; a module's bound `forward` is the module, TorchScript is a function.

    Raises:
        AssertionError: it cannot be called.
    """
    owner = getattr(forward_func, "__self__", None)
    if isinstance(owner, nn.Module) and getattr(forward_func, "__name__", "") in ("forward", "__call__", "_call_impl"):
        forward_func = owner
    if isinstance(forward_func, nn.Module) and not isinstance(forward_func, torch.jit.ScriptModule):
        return ModuleForward(forward_func)
    if not callable(forward_func):
        raise Refused("forward_func", "must be a Module or a function", type(forward_func).__name__)
    return FunctionForward(forward_func)
