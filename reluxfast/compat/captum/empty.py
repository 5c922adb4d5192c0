"""Batches without rows: the arguments of one row in their place, and the result cut down again."""

from __future__ import annotations

from typing import Any

import torch


def is_empty(inputs: Any) -> bool:
    """Whether inputs are Tensors without rows."""
    listed = inputs if isinstance(inputs, tuple) else (inputs,)
    return bool(listed) and all(isinstance(x, torch.Tensor) and x.dim() > 0 and len(x) == 0 for x in listed)


def one_row(argument: Any) -> Any:
    """An argument of no rows as one of a row: zeros for Tensors, the first target for lists."""
    if isinstance(argument, torch.Tensor) and argument.dim() and len(argument) == 0:
        return argument.new_zeros(1, *argument.shape[1:])
    if isinstance(argument, tuple):
        return tuple(map(one_row, argument))
    return [0] if isinstance(argument, list) and not argument else argument


def no_rows(result: Any) -> Any:
    """The same result for no rows."""
    if isinstance(result, torch.Tensor):
        return result[:0]
    return type(result)(map(no_rows, result))
