"""Triton kernel of soft_gate and soft_gate_: out = (g + skip) q, exactly 0 where q is 0; bytes are q / 255."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import block_size, launch, load_tile, store_tile, vector_size


@triton.jit
def _soft_gate_block(
    g_ptr,
    skip_ptr,
    q_ptr,
    out_ptr,
    left,
    SKIP: tl.constexpr,
    BYTES: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """One block: pointers at its first element, of which the period has `left` from there on."""
    offsets = tl.arange(0, BLOCK // VEC)[:, None] * VEC + tl.arange(0, VEC)[None, :]
    inside = offsets < left
    s = load_tile(g_ptr, offsets, inside, WHOLE)
    if SKIP:
        s += load_tile(skip_ptr, offsets, inside, WHOLE)
    w = load_tile(q_ptr, offsets, inside, WHOLE).to(s.dtype)
    if BYTES:
        w *= tl.full([], 1 / 255, s.dtype)
    # Chosen before the product: chosen after it, the compiler multiplies half types without widening them.
    s = tl.where(w == 0, tl.zeros_like(s), s)
    # Adding 0 takes the sign off a gate of -0.
    store_tile(out_ptr, offsets, s * (w + 0.0), inside, WHOLE)


@triton.jit
def _soft_gate_kernel(
    g_ptr,
    skip_ptr,
    q_ptr,
    out_ptr,
    period,
    blocks,
    SKIP: tl.constexpr,
    BYTES: tl.constexpr,
    REPEATED: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """g, skip, out: (repeats * period,); q: (period,); `blocks` programs for each repeat."""
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
    q_ptr += start
    if left >= BLOCK:
        _soft_gate_block(g_ptr, skip_ptr, q_ptr, out_ptr, left, SKIP, BYTES, BLOCK, VEC, True)
    else:
        _soft_gate_block(g_ptr, skip_ptr, q_ptr, out_ptr, left, SKIP, BYTES, BLOCK, VEC, False)


def soft_gate(g: Tensor, q: Tensor, skip: Tensor | None, out: Tensor) -> None:
    """Launches the kernel.

    Args:
        g, out: (repeats * q.numel(),) elements in memory order, at least one; may be the same memory.
        q: gates in g's dtype, or uint8, in the same order.
        skip: as g, in the same order.
    """
    block = block_size(g.dtype)
    count, period = g.numel(), q.numel()
    blocks = triton.cdiv(period, block)
    launch(
        _soft_gate_kernel,
        count // period * blocks,
        g,
        g,
        g if skip is None else skip,
        q,
        out,
        period,
        blocks,
        SKIP=skip is not None,
        BYTES=q.dtype == torch.uint8,
        REPEATED=count != period,
        BLOCK=block,
        VEC=vector_size(g.dtype),
    )
