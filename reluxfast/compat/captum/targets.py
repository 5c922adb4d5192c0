"""Which output is explained: Captum's five forms, and its refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from reluxfast.compat.captum.errors import OutOfRange, Refused
from reluxfast.errors import InvalidInput
from reluxfast.methods.targets import flat_targets

_FORMS = "must be None, an int, a tuple of ints, an integer Tensor, or a list of ints or of tuples"


def checked(target: Any, shape: tuple[int | None, ...], rows: int) -> Any:
    """The target, once it is known to name one output of each row.

    Args:
        target: None, int, tuple, integer Tensor (1,) or (N,), list of N ints or tuples.
        shape: shape (N, ...) of the output.
        rows: N.

    Raises:
        AssertionError: another form, or it names several outputs of a row.
        IndexError: an output that there is not.
    """
    if isinstance(target, np.integer):
        target = int(target)
    if target is not None and not isinstance(target, (int, tuple, list, torch.Tensor)):
        raise Refused("target", _FORMS, type(target).__name__)
    if rows:
        refuse_several(target, shape)
    try:
        flat_targets(target, shape, rows)
    except InvalidInput as error:
        kind = OutOfRange if error.rule.startswith("must lie in") else Refused
        raise kind(error.argument, error.rule, error.value, error.remedy) from None
    return target


def refuse_several(target: Any, shape: tuple[int | None, ...]) -> None:
    """Refuses a target that leaves several outputs of a row."""
    named = 0
    if target is not None:
        first = target[0] if isinstance(target, list) and target else target
        named = len(first) if isinstance(first, tuple) else 1
    inner = shape[1:]
    if named > len(inner):
        raise Refused("target", f"must not have more indices than an output row has dimensions ({len(inner)})", target)
    if math.prod(inner[named:]) != 1:
        rule = f"must name one output of each row, of an output of shape (N, {', '.join(map(str, inner))})"
        raise Refused("target", rule, target, "Pass an int, one int per row, or a tuple of indices")


def select(output: torch.Tensor, target: Any) -> torch.Tensor:
    """The explained output (N,) of each row of an output (N, ...)."""
    rows = output.shape[0]
    checked(target, tuple(output.shape), rows)
    flat = flat_targets(target, tuple(output.shape), rows).to(output.device)
    return output.reshape(rows, math.prod(output.shape[1:])).gather(1, flat[:, None])[:, 0]
