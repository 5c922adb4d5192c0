"""Triton kernel of mlp_outer_sums: sums of two tables are made a block at a time, where they are multiplied.

A row's values are computed in its row of the tile alone, in an order that depends on nothing but the sizes of the
network: it has the same bits whatever else is in the call.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import launch
from reluxfast.kernels.mlp_layers import BLOCK, Tiling, behind, packed_layers, programs_for, relu


@triton.jit
def _mlp_outer_sums_kernel(
    high_ptr,
    low_ptr,
    layers_ptr,
    y_ptr,
    scratch_ptr,
    count,
    highs,
    lows,
    depth,
    tiles,
    WIDTHS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """y (count, OUTPUTS) of sums of high (M * highs, depth) and low (M * lows, depth); `tiles` of them in turn."""
    WIDTH: tl.constexpr = WIDTHS[1]
    LAST: tl.constexpr = WIDTHS[len(WIDTHS) - 1]
    block, column, output = tl.arange(0, BLOCK), tl.arange(0, WIDTH), tl.arange(0, LAST)
    h_ptr = scratch_ptr + tl.program_id(0).to(tl.int64) * (ROWS * HIDDEN)
    for tile in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        row = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        exists = row < count
        high_row, group = row // lows, row // lows // highs
        low_row = group * lows + row % lows
        y = tl.zeros((ROWS, WIDTH), tl.float32)
        for start in range(0, WIDTHS[0], BLOCK):
            inside = start + block < depth
            here = exists[:, None] & inside[None, :]
            at = (start + block)[None, :]
            z = tl.load(high_ptr + (high_row * depth)[:, None] + at, mask=here, other=0.0)
            z += tl.load(low_ptr + (low_row * depth)[:, None] + at, mask=here, other=0.0)
            weight = tl.load(layers_ptr + (start + block)[:, None] * WIDTH + column[None, :])
            y = tl.dot(relu(z), weight, y, input_precision=PRECISION)
        y += tl.load(layers_ptr + WIDTHS[0] * WIDTH + column)[None, :]
        y = behind(y, h_ptr, layers_ptr, WIDTHS, ROWS, PRECISION)
        there = exists[:, None] & (output < OUTPUTS)[None, :]
        tl.store(y_ptr + (row * OUTPUTS)[:, None] + output[None, :], y, mask=there)


def mlp_outer_sums(
    high: Tensor, low: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], y: Tensor, tiling: Tiling
) -> None:
    """Launches the kernel.

    Args:
        high, low: (M, P, H), (M, Q, H) float32, contiguous.
        weights, biases: one or more, of any strides.
        y: (M, P, Q, K), contiguous.
        tiling: that of the network.
    """
    count = y.shape[:3].numel()
    tiles = triton.cdiv(count, tiling.rows)
    if not tiles:
        return
    programs = programs_for(tiles, high.device)
    launch(
        _mlp_outer_sums_kernel,
        programs,
        high,
        high,
        low,
        packed_layers(weights, biases, tiling),
        y,
        high.new_empty(programs * tiling.rows * tiling.hidden),
        count,
        high.shape[1],
        low.shape[1],
        high.shape[2],
        tiles,
        WIDTHS=tiling.widths,
        OUTPUTS=tiling.outputs,
        HIDDEN=tiling.hidden,
        ROWS=tiling.rows,
        PRECISION="ieee",
        num_warps=tiling.warps,
    )
