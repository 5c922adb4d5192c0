"""Dense order: the two memory layouts that every op accepts, and the element order each of them means.

An activation (N, C, *S) is dense in *contiguous* order, or in *channels-last* order (dim 1 innermost, the others in
order; strides (C*L, 1, C) for three dimensions). Anything else is made contiguous first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether x is dense in channels-last order and not in contiguous order."""
    if x.is_contiguous():
        return False
    if x.dim() == 4:  # torch knows the answer
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.dim() >= 3 and x.movedim(1, -1).is_contiguous()


def is_dense(x: Tensor) -> bool:
    """Whether x is dense in contiguous or in channels-last order."""
    return x.is_contiguous() or is_channels_last(x)


def empty_in_order(x: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """An uninitialised tensor of the given shape in the given dense order, with x's dtype and device."""
    if not channels_last:
        return x.new_empty(shape)
    return x.new_empty((shape[0], *shape[2:], shape[1])).movedim(-1, 1)


def memory_order(x: Tensor, channels_last: bool) -> Tensor:
    """x's elements in the given dense order, as a 1-D tensor (numel,)."""
    return (x.movedim(1, -1) if channels_last else x).reshape(-1)


def from_memory_order(flat: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """The inverse of `memory_order`: a dense tensor of the given shape over the elements (numel,)."""
    if not channels_last:
        return flat.reshape(shape)
    return flat.reshape((shape[0], *shape[2:], shape[1])).movedim(-1, 1)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
