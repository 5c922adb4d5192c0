"""relu_pack: bias, residual, ReLU and the packing of its derivative's bits in one pass.

    z = x + bias[c] + residual        (float32, or float64 for float64)
    y = min(max(z, lo), hi)           (NaN stays NaN)
    bit = 1 where lo < z < hi         (before y is rounded to its dtype; 0 for NaN)

ReLU is lo=0, hi=inf; ReLU6 is lo=0, hi=6. Element i of y's memory order is bit i & 7 of mask byte i >> 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import check_bias, check_dense, check_dtype, check_like, register
from reluxfast.ops.layout import (
    accumulation_dtype,
    empty_in_order,
    from_memory_order,
    is_channels_last,
    memory_order,
)
from reluxfast.ops.packing import pack_bits, packed_bytes


def _check(x: Tensor, bias: Tensor | None, residual: Tensor | None) -> None:
    check_dtype("x", x)
    check_bias("bias", bias, "x", x)
    if residual is not None:
        check_like("residual", residual, "x", x)


def relu_pack_reference(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, lo: float, hi: float, pack: bool
) -> tuple[Tensor, Tensor]:
    """y (x's shape and dense order) and mask uint8 (4*ceil(numel/32),) of x (N, C, ...), by definition."""
    _check(x, bias, residual)
    channels_last = is_channels_last(x)
    acc = accumulation_dtype(x.dtype)
    z = x.to(acc)
    if bias is not None:
        z = z + bias.to(acc).view(-1, *[1] * (x.dim() - 2))
    if residual is not None:
        z = z + residual.to(acc)
    low, high = z.new_full((), lo), z.new_full((), hi)
    y = torch.where(low > z, low, z)
    y = torch.where(high < y, high, y).to(x.dtype)
    y = from_memory_order(memory_order(y, channels_last), x.shape, channels_last)
    if not pack:
        return y, x.new_empty((0,), dtype=torch.uint8)
    return y, pack_bits(memory_order((low < z) & (z < high), channels_last))


def relu_pack_inplace_reference(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, lo: float, hi: float, pack: bool
) -> Tensor:
    """As `relu_pack_reference`, y written into the dense tensor x."""
    check_dense("x", x, "relu_pack")
    y, mask = relu_pack_reference(x, bias, residual, lo, hi, pack)
    x.copy_(y)
    return mask


def _fake_mask(x: Tensor, pack: bool) -> Tensor:
    return x.new_empty((packed_bytes(x.numel()) if pack else 0,), dtype=torch.uint8)


def _fake(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, lo: float, hi: float, pack: bool
) -> tuple[Tensor, Tensor]:
    _check(x, bias, residual)
    return empty_in_order(x, x.shape, is_channels_last(x)), _fake_mask(x, pack)


def _fake_inplace(x: Tensor, bias: Tensor | None, residual: Tensor | None, lo: float, hi: float, pack: bool) -> Tensor:
    _check(x, bias, residual)
    check_dense("x", x, "relu_pack")
    return _fake_mask(x, pack)


register(
    "relu_pack",
    "(Tensor x, Tensor? bias, Tensor? residual, float lo, float hi, bool pack) -> (Tensor, Tensor)",
    relu_pack_reference,
    _fake,
)
register(
    "relu_pack_",
    "(Tensor(a!) x, Tensor? bias, Tensor? residual, float lo, float hi, bool pack) -> Tensor",
    relu_pack_inplace_reference,
    _fake_inplace,
    mutates=True,
)
