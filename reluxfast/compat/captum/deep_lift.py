"""DeepLift."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.bases import Explains, GradientAttribution, exposed
from reluxfast.compat.captum.call import Call, given_baselines
from reluxfast.compat.captum.errors import NoModule, Refused


class DeepLift(Explains, GradientAttribution):
    """DeepLIFT with the rescale rule, however the model spells its activations and however often it uses them.

    Products, softmax and normalisations have rules that conserve, where Captum takes the plain gradient (softmax: a
    formula that mixes rows): see `reluxfast.deep_lift`.

    Args:
        model: a module.
        multiply_by_inputs: False: the multipliers alone, not times inputs - baselines.
        eps: where a difference is smaller, the multiplier is the derivative at the inputs.

    Raises:
        AttributeError: `model` is no module.
    """

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True, eps: float = 1e-10) -> None:
        GradientAttribution.__init__(self, model)
        if not isinstance(model, nn.Module):
            remedy = "Wrap the function in a Module: its activations must be seen"
            raise NoModule("model", "must be a torch.nn.Module", type(model).__name__, remedy)
        self.model = model
        self.eps = eps
        self._multiply_by_inputs = multiply_by_inputs

    @property
    def multiplies_by_inputs(self) -> bool:
        return self._multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        return True

    @exposed
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Callable[..., tuple[torch.Tensor, ...]] | None = None,
    ) -> Any:
        """Values like the inputs, in their dtypes, detached; with `return_convergence_delta` also the delta (N,).

        Args:
            baselines: None (zeros), a number, a Tensor (1, ...) or like the input; a tuple of these for several.
            custom_attribution_func: (multipliers[, inputs[, baselines]]) -> values, tuples all of them; in the place of
                multipliers * (inputs - baselines).

        Raises:
            UnsupportedNode: an operation of the model has no rule that conserves (Captum takes its gradient).
        """
        call = Call.of(inputs, target, additional_forward_args)
        bases = given_baselines(baselines, call.inputs)
        own = custom_attribution_func is None
        options = {"multiply_by_inputs": own and bool(self._multiply_by_inputs), "eps": self.eps}
        if call.rows:
            options["baseline"] = bases
        values = self._forward.attributed(call, "deep_lift", options).values
        if not own:
            inputs_alone = tuple(x.detach() for x in call.inputs)
            values = _customised(custom_attribution_func, values, inputs_alone, bases)
        if not return_convergence_delta:
            return call.packed(values)
        delta = self.compute_convergence_delta(values, bases, call.inputs, target, additional_forward_args)
        return call.packed(values), delta


def _customised(function: Callable, *arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Values of a function of the first one to three of (multipliers, inputs, baselines).

    Raises:
        AssertionError: it takes another number, or is no function.
    """
    if not callable(function):
        raise Refused("custom_attribution_func", "must be a function", type(function).__name__)
    wanted = len(inspect.signature(function).parameters)
    if not 1 <= wanted <= len(arguments):
        raise Refused("custom_attribution_func", "must take one to three arguments", wanted)
    return function(*arguments[:wanted])
