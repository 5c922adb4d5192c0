"""gate: the reverse step through a ReLU, with the skip connection's gradient added on the way.

    s = g + skip                                          (float32, or float64 for float64)
    out = s where (bit if mode & 1) and (s > 0 if mode & 2), else exactly 0

mode 1 is the gradient, 3 guided backpropagation (Springenberg et al. 2015), 2 the deconvnet (Zeiler and Fergus 2014),
0 the sum alone. The mask covers `period` elements; element i of g's memory order uses bit i mod period, so that
several classes, stored class-major, share one mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import check_dense, check_dtype, check_like, check_packed, register
from reluxfast.ops.layout import (
    accumulation_dtype,
    empty_in_order,
    from_memory_order,
    is_channels_last,
    memory_order,
)
from reluxfast.ops.packing import packed_bytes, unpack_bits

MODES = {"gradient": 1, "guided_backprop": 3, "deconvnet": 2}


def check_mode(mode: int) -> None:
    """Refuse a mode outside 0..3."""
    torch._check(
        0 <= mode <= 3,
        lambda: f"mode must be 0 (none), 1 (gradient), 2 (deconvnet) or 3 (guided backpropagation), got {mode}",
    )


def check_period(g: Tensor, period: int) -> None:
    """Refuse a period that does not divide g's element count."""
    torch._check(
        (period > 0 and g.numel() % period == 0) or g.numel() == 0,
        lambda: f"period must divide the number of elements of g, {g.numel()}, got {period}",
    )


def _check(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> None:
    check_dtype("g", g)
    check_mode(mode)
    check_period(g, period)
    if skip is not None:
        check_like("skip", skip, "g", g)
    if mode & 1:
        torch._check(
            mask is not None, lambda: f"mask must be given for mode {mode}, got None; only modes 0 and 2 do without"
        )
        check_packed("mask", mask, g.device, packed_bytes(period))


def gate_reference(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> Tensor:
    """The gated sum, in g's shape and dense order, by definition."""
    _check(g, mask, skip, mode, period)
    channels_last = is_channels_last(g)
    acc = accumulation_dtype(g.dtype)
    s = memory_order(g, channels_last).to(acc)
    if skip is not None:
        s = s + memory_order(skip, channels_last).to(acc)
    keep = torch.ones_like(s, dtype=torch.bool)
    if mode & 1 and g.numel():
        keep = keep & unpack_bits(mask, period).repeat(g.numel() // period)
    if mode & 2:
        keep = keep & (s > 0)
    out = torch.where(keep, s, s.new_zeros(())).to(g.dtype)
    return from_memory_order(out, g.shape, channels_last)


def gate_inplace_reference(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> None:
    """As `gate_reference`, written into the dense tensor g."""
    check_dense("g", g, "gate")
    g.copy_(gate_reference(g, mask, skip, mode, period))


def _fake(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> Tensor:
    _check(g, mask, skip, mode, period)
    return empty_in_order(g, g.shape, is_channels_last(g))


def _fake_inplace(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> None:
    _check(g, mask, skip, mode, period)
    check_dense("g", g, "gate")


# Named gate_mode in the schemas: torch.compile's treatment of in-place ops has a keyword `mode` of its own.
register("gate", "(Tensor g, Tensor? mask, Tensor? skip, int gate_mode, int period) -> Tensor", gate_reference, _fake)
register(
    "gate_",
    "(Tensor(a!) g, Tensor? mask, Tensor? skip, int gate_mode, int period) -> ()",
    gate_inplace_reference,
    _fake_inplace,
    mutates=True,
)
