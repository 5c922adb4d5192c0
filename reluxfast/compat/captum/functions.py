"""Functions that are no modules: the plain gradient, by autograd; nothing inside them can be seen."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.targets import select


def function_outputs(function: Callable, call: Call) -> torch.Tensor:
    """The explained output (N,) of each row, with its history.

    A function that answers for all rows together has as many outputs as it likes.

    Raises:
        AssertionError: the function returns no Tensor with rows.
    """
    output = function(*call.inputs, *call.extra)
    if not isinstance(output, torch.Tensor) or not output.dim():
        shown = "one without dimensions" if isinstance(output, torch.Tensor) else type(output).__name__
        raise Refused("forward_func", "must return a Tensor with outputs in dimension 0", shown)
    return select(output, call.target)


def function_gradients(function: Callable, call: Call) -> tuple[torch.Tensor, ...]:
    """Gradient of the explained outputs for each input; zeros where an output does not depend on it."""
    call.refuse_integers()
    with torch.inference_mode(False), torch.enable_grad():
        # A copy: the function may write into its argument.
        own = tuple(x.detach().clone().requires_grad_() for x in call.inputs)
        given = tuple(x.view_as(x) for x in own)
        chosen = function_outputs(function, call.at(given))
        if not chosen.requires_grad:
            return tuple(torch.zeros_like(x) for x in call.inputs)
        return torch.autograd.grad(chosen.sum(), own, allow_unused=True, materialize_grads=True)
