"""Triton kernel of relu_pack and relu_pack_: z = x + bias[c] + residual, y = min(max(z, lo), hi), bit = lo < z < hi."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import (
    block_size,
    channel_of,
    clamp,
    index_type,
    launch,
    load_tile,
    store_fields,
    store_tile,
    vector_size,
    widen,
)


@triton.jit
def _relu_pack_block(
    x_ptr,
    residual_ptr,
    y_ptr,
    mask_ptr,
    bias_ptr,
    start,
    left,
    lo,
    hi,
    run,
    channels,
    cycle,
    BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PACK: tl.constexpr,
    LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """One block, element `start` of the memory order and on, of which there are `left`."""
    first = tl.arange(0, BLOCK // VEC)[:, None] * VEC
    lane = tl.arange(0, VEC)[None, :]
    offsets = first + lane
    inside = offsets < left
    z = load_tile(x_ptr + start, offsets, inside, WHOLE)
    if BIAS:
        z += widen(tl.load(bias_ptr + channel_of(start, first, lane, run, channels, cycle, LAST, ALIGNED, INDEX, VEC)))
    if RESIDUAL:
        z += load_tile(residual_ptr + start, offsets, inside, WHOLE)
    low = tl.full([], lo, z.dtype)
    high = tl.full([], hi, z.dtype)
    store_tile(y_ptr + start, offsets, clamp(z, low, high), inside, WHOLE)
    if PACK:
        bit = (low < z) & (z < high)
        if not WHOLE:
            bit = bit & inside
        store_fields(mask_ptr + start // 8, bit, left, 1, BLOCK)


@triton.jit
def _relu_pack_kernel(
    x_ptr,
    residual_ptr,
    y_ptr,
    mask_ptr,
    bias_ptr,
    count,
    # Python floats reach a kernel as float32 unless told otherwise; float64 needs its bounds unrounded.
    lo: tl.float64,
    hi: tl.float64,
    run,
    channels,
    cycle,
    BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PACK: tl.constexpr,
    LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """x, residual, y: (count,); mask: uint8 (packed_bytes(count),); bias: (channels,)."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    left = count - start
    if left >= BLOCK:
        _relu_pack_block(
            x_ptr,
            residual_ptr,
            y_ptr,
            mask_ptr,
            bias_ptr,
            start,
            left,
            lo,
            hi,
            run,
            channels,
            cycle,
            BIAS,
            RESIDUAL,
            PACK,
            LAST,
            ALIGNED,
            INDEX,
            BLOCK,
            VEC,
            True,
        )
    else:
        _relu_pack_block(
            x_ptr,
            residual_ptr,
            y_ptr,
            mask_ptr,
            bias_ptr,
            start,
            left,
            lo,
            hi,
            run,
            channels,
            cycle,
            BIAS,
            RESIDUAL,
            PACK,
            LAST,
            ALIGNED,
            INDEX,
            BLOCK,
            VEC,
            False,
        )


def relu_pack(
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    y: Tensor,
    mask: Tensor | None,
    lo: float,
    hi: float,
    run: int,
) -> None:
    """Launches the kernel.

    Args:
        x, residual, y: elements in one memory order, at least one; x and y may be the same memory.
        bias: (C,) in x's dtype.
        mask: uint8 (packed_bytes(numel),), or None to keep no bits.
        run: elements that follow each other in one channel, 1 in channels-last order; used with a bias only.
    """
    block, vector = block_size(x.dtype), vector_size(x.dtype)
    count = x.numel()
    channels = 1 if bias is None else bias.shape[0]
    last = run == 1
    launch(
        _relu_pack_kernel,
        triton.cdiv(count, block),
        x,
        x,
        x if residual is None else residual,
        y,
        x if mask is None else mask,
        x if bias is None else bias,
        count,
        lo,
        hi,
        run,
        channels,
        run * channels,
        BIAS=bias is not None,
        RESIDUAL=residual is not None,
        PACK=mask is not None,
        LAST=last,
        ALIGNED=(channels if last else run) % vector == 0,
        INDEX=index_type(run * channels, block),
        BLOCK=block,
        VEC=vector,
    )
