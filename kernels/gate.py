"""Triton kernel of gate and gate_: out = s where (bit if MODE & 1) and (s > 0 if MODE & 2), else 0; s = g + skip."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import block_size, launch, load_fields, load_tile, store_tile, vector_size


@triton.jit
def _gate_block(
    g_ptr,
    skip_ptr,
    mask_ptr,
    out_ptr,
    left,
    MODE: tl.constexpr,
    SKIP: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """One block: pointers at its first element, of which the period has `left` from there on."""
    first = tl.arange(0, BLOCK // VEC)[:, None] * VEC
    lane = tl.arange(0, VEC)[None, :]
    offsets = first + lane
    inside = offsets < left
    s = load_tile(g_ptr, offsets, inside, WHOLE)
    if SKIP:
        s += load_tile(skip_ptr, offsets, inside, WHOLE)
    zero = tl.zeros_like(s)
    out = s
    # A comparison with NaN is false: modes 2 and 3 drop it.
    if MODE & 2:
        out = tl.where(s > 0, out, zero)
    if MODE & 1:
        bit = load_fields(mask_ptr, first, lane, first < left, 1, WHOLE)
        out = tl.where(bit != 0, out, zero)
    store_tile(out_ptr, offsets, out, inside, WHOLE)


@triton.jit
def _gate_kernel(
    g_ptr,
    skip_ptr,
    mask_ptr,
    out_ptr,
    period,
    blocks,
    MODE: tl.constexpr,
    SKIP: tl.constexpr,
    REPEATED: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """g, skip, out: (repeats * period,); mask: uint8 bits of one period; `blocks` programs for each repeat."""
    program = tl.program_id(0)
    if REPEATED:
        start = (program % blocks).to(tl.int64) * BLOCK
        first = (program // blocks).to(tl.int64) * period + start
    else:
        start = program.to(tl.int64) * BLOCK
        first = start
    left = period - start
    g_ptr += first
    skip_ptr += first
    out_ptr += first
    mask_ptr += start // 8
    if left >= BLOCK:
        _gate_block(g_ptr, skip_ptr, mask_ptr, out_ptr, left, MODE, SKIP, BLOCK, VEC, True)
    else:
        _gate_block(g_ptr, skip_ptr, mask_ptr, out_ptr, left, MODE, SKIP, BLOCK, VEC, False)


def gate(g: Tensor, skip: Tensor | None, mask: Tensor | None, out: Tensor, period: int, mode: int) -> None:
    """Launches the kernel.

    Args:
        g, out: (repeats * period,) elements in memory order, at least one; may be the same memory.
        skip: as g, in the same order.
        mask: uint8 (packed_bytes(period),), 4-byte aligned; needed where mode & 1.
    """
    block = block_size(g.dtype)
    count = g.numel()
    blocks = triton.cdiv(period, block)
    launch(
        _gate_kernel,
        count // period * blocks,
        g,
        g,
        g if skip is None else skip,
        g if mask is None else mask,
        out,
        period,
        blocks,
        MODE=mode,
        SKIP=skip is not None,
        REPEATED=count != period,
        BLOCK=block,
        VEC=vector_size(g.dtype),
    )
