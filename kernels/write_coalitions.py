"""Triton kernel of write_coalitions_: rows whose elements come from x where their players are present, else from a
background."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import block_size, launch, narrow, widen


@triton.jit
def _write_coalitions_kernel(
    out_ptr,
    x_ptr,
    background_ptr,
    labels_ptr,
    ranks_ptr,
    jobs_ptr,
    count,
    d,
    players,
    blocks,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """out: (count, d), in tiles (ROWS, WIDTH), `blocks` of them side by side."""
    program = tl.program_id(0)
    m = (program // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    start = (program % blocks).to(tl.int64) * WIDTH
    column = tl.arange(0, WIDTH)
    exists, within = m < count, column < d - start
    job = jobs_ptr + m * 4
    row = tl.load(job, mask=exists, other=0).to(tl.int64)
    base = tl.load(job + 1, mask=exists, other=0).to(tl.int64)
    order = tl.load(job + 2, mask=exists, other=0).to(tl.int64)
    below = tl.load(job + 3, mask=exists, other=0)
    label = tl.load(labels_ptr + start + column, mask=within, other=0)
    inside = exists[:, None] & within[None, :]
    rank = tl.load(ranks_ptr + (order * players)[:, None] + label[None, :], mask=inside, other=0)
    # Both, whole: what is loaded under a mask of single elements is loaded element by element.
    present = tl.load(x_ptr + start + (row * d)[:, None] + column[None, :], mask=inside)
    absent = tl.load(background_ptr + start + (base * d)[:, None] + column[None, :], mask=inside)
    value = tl.where(rank < below[:, None], present, absent)
    if out_ptr.dtype.element_ty != x_ptr.dtype.element_ty:
        value = narrow(widen(value), out_ptr.dtype.element_ty)
    tl.store(out_ptr + start + (m * d)[:, None] + column[None, :], value, mask=inside)


def write_coalitions(out: Tensor, x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor) -> None:
    """Launches the kernel.

    Args:
        out: (M, d), at least one element; x's dtype, or a half type for float32.
        x, background: (N, d), (B, d).
        labels: (d,) int32.
        ranks: (P, n) int32.
        jobs: (M, 4) int32.
    """
    block = block_size(out.dtype)
    count, d = out.shape
    width = min(block, triton.next_power_of_2(d))
    rows = block // width
    blocks = triton.cdiv(d, width)
    launch(
        _write_coalitions_kernel,
        triton.cdiv(count, rows) * blocks,
        out,
        out,
        x,
        background,
        labels,
        ranks,
        jobs,
        count,
        d,
        ranks.shape[1],
        blocks,
        ROWS=rows,
        WIDTH=width,
    )
