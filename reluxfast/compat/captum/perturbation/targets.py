"""Which outputs are explained: Captum's forms of a target, which may leave several outputs of a row here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reluxfast.compat.captum.errors import OutOfRange, Refused

_FORMS = "must be None, an int, a tuple of ints, an integer Tensor, or a list of ints or of tuples"


def explained_part(output: torch.Tensor, target: Any) -> torch.Tensor:
    """The explained part (N, ...) of an output (N, ...).

    Args:
        output: whose dimension 0 is examples.
        target: None: all of it; int or tuple: indices behind dimension 0, which may stop short; integer Tensor or list
            of N ints: one for each row of an output (N, K); list of N tuples: one for each row.

    Raises:
        AssertionError: another form, or one that does not fit the output.
        IndexError: an output that there is not.
    """
    if isinstance(target, torch.Tensor) and target.numel() == 1 and not target.is_floating_point():
        target = int(target)
    if target is None:
        return output
    if output.dim() == 0:
        raise Refused("target", "must be None where forward_func returns a single number", target)
    try:
        if isinstance(target, (int, np.integer)):
            return _behind(output, (int(target),))
        if isinstance(target, tuple):
            return _behind(output, target)
        if isinstance(target, (torch.Tensor, list)):
            return _each(output, target)
    except IndexError as error:
        if isinstance(error, OutOfRange):
            raise
        shown = f"{target} for an output of shape {tuple(output.shape)}"
        raise OutOfRange("target", "must name outputs that there are", shown) from None
    raise Refused("target", _FORMS, type(target).__name__)


def _behind(output: torch.Tensor, index: tuple[Any, ...]) -> torch.Tensor:
    if len(index) > output.dim() - 1:
        shown = f"{index} for an output of shape {tuple(output.shape)}"
        raise Refused("target", "must not have more indices than an output row has dimensions", shown)
    return output[(slice(None), *index)]


def _each(output: torch.Tensor, target: torch.Tensor | list[Any]) -> torch.Tensor:
    listed = target if isinstance(target, list) else target.tolist() if target.dim() == 1 else None
    if listed is None or len(listed) != len(output) or not listed:
        given = f"{len(target)} entries" if isinstance(target, list) else tuple(target.shape)
        raise Refused("target", f"must have one entry for each row ({len(output)})", given)
    if all(isinstance(t, tuple) for t in listed):
        return torch.stack([_behind(output[i : i + 1], t)[0] for i, t in enumerate(listed)])
    if not all(isinstance(t, (int, np.integer)) for t in listed):
        raise Refused("target", _FORMS, f"a list of {type(listed[0]).__name__}")
    if output.dim() != 2:
        rule = "as one int for each row needs an output of shape (N, K)"
        raise Refused("target", rule, tuple(output.shape), "Pass a list of tuples")
    return torch.stack([output[i, int(t)] for i, t in enumerate(listed)])
