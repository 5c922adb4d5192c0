"""What the adapters share with Captum's classes.

Where Captum is installed its own base classes stand behind ours, so that code which asks `isinstance` accepts them;
elsewhere stand-ins with the same attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F

from reluxfast.compat.captum.call import Call, given_baselines
from reluxfast.compat.captum.empty import is_empty, no_rows, one_row
from reluxfast.compat.captum.forward import Forward, forward_of
from reluxfast.compat.captum.functions import function_gradients

try:
    from captum.attr import (
        Attribution,
        GradientAttribution,
        LayerAttribution,
        NeuronAttribution,
        PerturbationAttribution,
    )
except ImportError:

    class Attribution:
        """An attribution method for `forward_func`."""

        def __init__(self, forward_func: Callable) -> None:
            self.forward_func = forward_func

        @property
        def multiplies_by_inputs(self) -> bool:
            """Whether values are multiplied by the inputs (or by their distance from baselines)."""
            return False

        def has_convergence_delta(self) -> bool:
            """Whether `attribute` takes `return_convergence_delta`."""
            return False

        @classmethod
        def get_name(cls) -> str:
            """The class's name in words."""
            return "".join(c if c.islower() or not i else f" {c}" for i, c in enumerate(cls.__name__))

    class GradientAttribution(Attribution):
        """One that needs gradients."""

        def __init__(self, forward_func: Callable) -> None:
            Attribution.__init__(self, forward_func)
            self.gradient_func = _gradients

    class PerturbationAttribution(Attribution):
        """One that needs outputs alone."""

        @property
        def multiplies_by_inputs(self) -> bool:
            return True

    class InternalAttribution(Attribution):
        """One of a layer."""

        def __init__(self, forward_func: Callable, layer: Any, device_ids: list[int] | None = None) -> None:
            Attribution.__init__(self, forward_func)
            self.layer = layer
            self.device_ids = device_ids

    class LayerAttribution(InternalAttribution):
        """Values at a layer."""

        @staticmethod
        def interpolate(
            layer_attribution: torch.Tensor, interpolate_dims: int | tuple[int, ...], interpolate_mode: str = "nearest"
        ) -> torch.Tensor:
            """Values (N, C, *S) at another spatial size, by `torch.nn.functional.interpolate`."""
            return F.interpolate(layer_attribution, interpolate_dims, mode=interpolate_mode)

    class NeuronAttribution(InternalAttribution):
        """Values of inputs for one neuron."""


def _gradients(
    forward_fn: Callable, inputs: Any, target_ind: Any = None, additional_forward_args: Any = None
) -> tuple[torch.Tensor, ...]:
    return function_gradients(forward_fn, Call.of(inputs, target_ind, additional_forward_args))


def exposed(attribute: Callable) -> Callable:
    """A method that shows itself as `__wrapped__`, as code that wraps Captum's methods calls it.

    A batch of nothing is explained as one row, of which nothing is returned.
    """

    @wraps(attribute)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_empty(args[0] if args else kwargs.get("inputs")):
            made_up = attribute(self, *map(one_row, args), **{name: one_row(v) for name, v in kwargs.items()})
            return no_rows(made_up)
        return attribute(self, *args, **kwargs)

    return method


class Explains:
    """How ours look at a network: through the engine, or by autograd where it is a function.

    Mixed in before Captum's bases, whose own ways (hooks, flags on the inputs) are never taken.
    """

    forward_func: Callable

    @property
    def _forward(self) -> Forward:
        known = self.__dict__.get("_forward_known")
        if known is None or known[0] is not self.forward_func:
            known = self.__dict__["_forward_known"] = self.forward_func, forward_of(self.forward_func)
        return known[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold what was given; the model is captured anew for them."""
        return {name: value for name, value in self.__dict__.items() if name != "_forward_known"}

    def attribute_future(self, *args: Any, **kwargs: Any) -> None:
        """Not there, as in Captum.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"attribute_future is not implemented for {type(self).__name__}")

    def compute_convergence_delta(
        self,
        attributions: torch.Tensor | tuple[torch.Tensor, ...],
        start_point: Any,
        end_point: torch.Tensor | tuple[torch.Tensor, ...],
        target: Any = None,
        additional_forward_args: Any = None,
    ) -> torch.Tensor:
        """Σ attributions - (f(end_point) - f(start_point)) of each row, (N,).

        Raises:
            AssertionError: attributions and end_point have different numbers of rows.
        """
        call = Call.of(end_point, target, additional_forward_args)
        bases = given_baselines(start_point, call.inputs)
        parts = attributions if isinstance(attributions, tuple) else (attributions,)
        call.check_rows(parts, "attributions")
        if not call.rows:
            return parts[0].new_zeros(0)
        rise = self._forward.selected(call) - self._forward.selected(call.at(bases))
        return sum(part.reshape(len(part), -1).sum(1) for part in parts) - rise
