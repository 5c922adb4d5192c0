"""Triton kernel of soft_gate_pack and soft_gate_pack_.

a = z + bias[c], y = a + residual, v = min(max(y, lo), hi), D = f a + f' (d + d_bias[c]), S = D + ε where D >= 0, else
D - ε; q = n / S with n = v or 1, exactly 0 where the gate is closed; a byte of it is floor(255 q + 1/2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
    store_tile,
    vector_size,
    widen,
)


@triton.jit
def _gate_of(
    a,
    y,
    v,
    below,
    factor,
    factor_below,
    epsilon,
    BELOW: tl.constexpr,
    NUMERATOR: tl.constexpr,
    BRANCH: tl.constexpr,
    BYTES: tl.constexpr,
):
    """One gate; factors and epsilon as the caller's float64, which the type of computation rounds."""
    full = a * tl.full([], factor, a.dtype)
    if BELOW:
        full += below * tl.full([], factor_below, a.dtype)
    step = tl.full([], epsilon, a.dtype)
    s = full + tl.where(full >= 0, step, -step)
    # NaN is not 0: it keeps the gate open.
    keep = s != 0
    if NUMERATOR != 1:
        keep = keep & (v != 0)
    if BRANCH == 1:
        keep = keep & (y > 0)
    if BRANCH == 2:
        keep = keep & (y < 0)
    # A closed gate divides 1: a 0 may take the longer way that division has for special values. Its byte is 0 as that
    # of any negative q is, and nobody needs to remember that it was closed.
    one = tl.full(y.shape, 1, y.dtype)
    s = tl.where(keep, s, -one if BYTES else one)
    n = tl.where(keep, v, one) if NUMERATOR == 0 else one
    # float32's / is not rounded to nearest on a GPU; float64's is, and has no other name.
    q = n / s if y.dtype == tl.float64 else tl.div_rn(n, s)
    if BYTES:
        # A comparison with NaN is false: its byte is 0.
        keep = q > 0
        q = tl.where(q < 1, q, one) * 255 + 0.5
    q = tl.where(keep, q, tl.zeros_like(q))
    return q.to(tl.uint8) if BYTES else q


@triton.jit
def _soft_gate_pack_block(
    z_ptr,
    d_ptr,
    bias_ptr,
    d_bias_ptr,
    residual_ptr,
    v_ptr,
    q_ptr,
    second_ptr,
    start,
    left,
    factor,
    factor_below,
    second_factor,
    second_factor_below,
    epsilon,
    lo,
    hi,
    run,
    channels,
    cycle,
    BELOW: tl.constexpr,
    BIAS: tl.constexpr,
    D_BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    STORE_V: tl.constexpr,
    NUMERATOR: tl.constexpr,
    BRANCH: tl.constexpr,
    SECOND: tl.constexpr,
    BYTES: tl.constexpr,
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
    a = load_tile(z_ptr + start, offsets, inside, WHOLE)
    if BIAS or D_BIAS:
        channel = channel_of(start, first, lane, run, channels, cycle, LAST, ALIGNED, INDEX, VEC)
    if BIAS:
        a += widen(tl.load(bias_ptr + channel))
    y = a
    if RESIDUAL:
        y += load_tile(residual_ptr + start, offsets, inside, WHOLE)
    below = a
    if BELOW:
        below = load_tile(d_ptr + start, offsets, inside, WHOLE)
        if D_BIAS:
            below += widen(tl.load(d_bias_ptr + channel))
    v = clamp(y, tl.full([], lo, y.dtype), tl.full([], hi, y.dtype))
    if STORE_V:
        store_tile(v_ptr + start, offsets, v, inside, WHOLE)
    q = _gate_of(a, y, v, below, factor, factor_below, epsilon, BELOW, NUMERATOR, BRANCH, BYTES)
    store_tile(q_ptr + start, offsets, q, inside, WHOLE)
    if SECOND >= 0:
        q = _gate_of(a, y, v, below, second_factor, second_factor_below, epsilon, BELOW, NUMERATOR, SECOND, BYTES)
        store_tile(second_ptr + start, offsets, q, inside, WHOLE)


@triton.jit
def _soft_gate_pack_kernel(
    z_ptr,
    d_ptr,
    bias_ptr,
    d_bias_ptr,
    residual_ptr,
    v_ptr,
    q_ptr,
    second_ptr,
    count,
    # Python floats reach a kernel as float32 unless told otherwise; float64 needs them unrounded.
    factor: tl.float64,
    factor_below: tl.float64,
    second_factor: tl.float64,
    second_factor_below: tl.float64,
    epsilon: tl.float64,
    lo: tl.float64,
    hi: tl.float64,
    run,
    channels,
    cycle,
    BELOW: tl.constexpr,
    BIAS: tl.constexpr,
    D_BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    STORE_V: tl.constexpr,
    NUMERATOR: tl.constexpr,
    BRANCH: tl.constexpr,
    SECOND: tl.constexpr,
    BYTES: tl.constexpr,
    LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """z, d, residual, v and both gates: (count,); bias, d_bias: (channels,); SECOND is -1 without a second gate."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    left = count - start
    if left >= BLOCK:
        _soft_gate_pack_block(
            z_ptr,
            d_ptr,
            bias_ptr,
            d_bias_ptr,
            residual_ptr,
            v_ptr,
            q_ptr,
            second_ptr,
            start,
            left,
            factor,
            factor_below,
            second_factor,
            second_factor_below,
            epsilon,
            lo,
            hi,
            run,
            channels,
            cycle,
            BELOW,
            BIAS,
            D_BIAS,
            RESIDUAL,
            STORE_V,
            NUMERATOR,
            BRANCH,
            SECOND,
            BYTES,
            LAST,
            ALIGNED,
            INDEX,
            BLOCK,
            VEC,
            True,
        )
    else:
        _soft_gate_pack_block(
            z_ptr,
            d_ptr,
            bias_ptr,
            d_bias_ptr,
            residual_ptr,
            v_ptr,
            q_ptr,
            second_ptr,
            start,
            left,
            factor,
            factor_below,
            second_factor,
            second_factor_below,
            epsilon,
            lo,
            hi,
            run,
            channels,
            cycle,
            BELOW,
            BIAS,
            D_BIAS,
            RESIDUAL,
            STORE_V,
            NUMERATOR,
            BRANCH,
            SECOND,
            BYTES,
            LAST,
            ALIGNED,
            INDEX,
            BLOCK,
            VEC,
            False,
        )


def soft_gate_pack(
    z: Tensor,
    d: Tensor | None,
    bias: Tensor | None,
    d_bias: Tensor | None,
    residual: Tensor | None,
    v: Tensor | None,
    gates: Sequence[Tensor],
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    numerator: int,
    run: int,
) -> None:
    """Launches the kernel.

    Args:
        z, d, residual, v: elements in one memory order, at least one; z and v may be the same memory, and
            d and residual; no v: not stored.
        bias, d_bias: (C,) in z's dtype.
        gates: one or two, in z's dtype or uint8, in the same order.
        factors, branches: two factors and a branch for each gate.
        run: elements that follow each other in one channel, 1 in channels-last order; used with a bias only.
    """
    block, vector = block_size(z.dtype), vector_size(z.dtype)
    count = z.numel()
    by_channel = d_bias if bias is None else bias
    channels = 1 if by_channel is None else by_channel.shape[0]
    last = run == 1
    launch(
        _soft_gate_pack_kernel,
        triton.cdiv(count, block),
        z,
        z,
        z if d is None else d,
        z if bias is None else bias,
        z if d_bias is None else d_bias,
        z if residual is None else residual,
        z if v is None else v,
        gates[0],
        gates[-1],
        count,
        *factors[:2],
        *factors[-2:],
        epsilon,
        lo,
        hi,
        run,
        channels,
        run * channels,
        BELOW=d is not None,
        BIAS=bias is not None,
        D_BIAS=d_bias is not None,
        RESIDUAL=residual is not None,
        STORE_V=v is not None,
        NUMERATOR=numerator,
        BRANCH=branches[0],
        SECOND=branches[1] if len(branches) == 2 else -1,
        BYTES=gates[0].dtype == torch.uint8,
        LAST=last,
        ALIGNED=(channels if last else run) % vector == 0,
        INDEX=index_type(run * channels, block),
        BLOCK=block,
        VEC=vector,
    )
