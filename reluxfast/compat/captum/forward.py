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
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.functions import function_gradients, function_outputs
from reluxfast.compat.captum.targets import checked
from reluxfast.explainer import attribute_captured, laid_out_like, make_run, prepared
from reluxfast.methods.run import Run, Seed

# Fixed arguments remembered for each attribution object.
_BOUND = 4
PathGradients = Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]


class ModuleForward:
    """A module, captured by the engine. Explained as if in eval mode; only read."""

    def __init__(self, module: nn.Module):
        self.module = original(module)
        self._bound: list[Bound] = []
        self._lock = threading.Lock()

    def captured(self, call: Call) -> tuple[Captured, tuple[torch.Tensor, ...]]:
        """The capture for a call, and the arguments that are its context: tensors with a row for each example.

        Other arguments are fixed values of the captured model.
        """
        call.refuse_integers()
        per_row = [isinstance(e, torch.Tensor) and e.dim() > 0 and len(e) == call.rows for e in call.extra]
        context = tuple(e for e, own in zip(call.extra, per_row, strict=True) if own)
        model = self.module
        if not all(per_row):
            slots = tuple(Bound.TENSOR if own else e for e, own in zip(call.extra, per_row, strict=True))
            model = self._fixed(len(call.inputs), slots)
        return captured(model, (*call.inputs, *context), len(call.inputs)), context

    def _fixed(self, inputs: int, arguments: tuple[Any, ...]) -> Bound:
        with self._lock:
            for known in self._bound:
                if known.fits(self.module, inputs, arguments):
                    return known
            self._bound = [*self._bound[-_BOUND + 1 :], Bound(self.module, inputs, arguments)]
            return self._bound[-1]

    def run(self, call: Call, seed: Seed | None = None, target: bool = True) -> Run:
        """A request on the captured model; with `target` its target is checked.

        Raises:
            AssertionError, IndexError: the target does not fit.
        """
        known, context = self.captured(call)
        run = make_run(known, prepared(known, call.inputs)[1], call.target, context, seed)
        if target and seed is None:
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
        run = self.run(call)
        return laid_out_like(run.selected(run.outputs()), call.inputs[0])

    @staticmethod
    def _output_shape(run: Run) -> tuple[int | None, ...]:
        graph = run.engine.graph
        return graph.nodes[graph.output].shape


class FunctionForward:
    """A function of tensors, called as it is."""

    module = None

    def __init__(self, function: Callable):
        self.function = function

    def gradients(self, call: Call) -> tuple[torch.Tensor, ...]:
        """Gradient of the explained outputs for each input, in its dtype."""
        return function_gradients(self.function, call)

    def path_gradients(self, call: Call) -> PathGradients:
        """Gradients for points (S * N, ...) in the place of the inputs."""

        def gradients(points: list[torch.Tensor]) -> Sequence[torch.Tensor]:
            return function_gradients(self.function, call.repeated(points, len(points[0]) // call.rows))

        return gradients

    def selected(self, call: Call) -> torch.Tensor:
        """The explained output (N,) of each row."""
        with torch.no_grad():
            return function_outputs(self.function, call)


Forward = ModuleForward | FunctionForward


def forward_of(forward_func: Any) -> Forward:
    """What stands behind a `forward_func`; a module's bound `forward` is the module.

    Raises:
        AssertionError: it cannot be called.
    """
    owner = getattr(forward_func, "__self__", None)
    if isinstance(owner, nn.Module) and getattr(forward_func, "__name__", "") in ("forward", "__call__", "_call_impl"):
        forward_func = owner
    if isinstance(forward_func, nn.Module):
        return ModuleForward(forward_func)
    if not callable(forward_func):
        raise Refused("forward_func", "must be a Module or a function", type(forward_func).__name__)
    return FunctionForward(forward_func)
