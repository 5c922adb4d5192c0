"""Triton kernels of max_pool_pack and max_pool_scatter.

Tensors are images of positions (depth, height, width) of `channels` groups of VEC values, innermost: VEC values are one
16-byte access in channels-last order where they divide the channels. Contiguous order is N*C images of one channel,
with VEC = 1. Missing spatial dimensions have size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import (
    block_size,
    index_type,
    launch,
    load_fields,
    narrow,
    store_fields,
    vector_size,
    widen,
)

# Up to here a loop is written out, so that its loads are in flight together; longer ones would run out of registers.
_UNROLL_TAPS = tl.constexpr(16)
_UNROLL_WINDOWS = tl.constexpr(4)


@dataclass(frozen=True)
class Pool:
    """A pool's geometry over depth, height and width; `channels` is 1 in contiguous order."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    channels: int

    @staticmethod
    def over(
        size: Sequence[int],
        out: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        channels: int,
    ) -> Pool:
        """The geometry from one, two or three values of each."""
        missing = 3 - len(size)
        ones, zeros = (1,) * missing, (0,) * missing
        return Pool(
            (*ones, *size),
            (*ones, *out),
            (*ones, *kernel),
            (*ones, *stride),
            (*zeros, *padding),
            (*ones, *dilation),
            channels,
        )

    @property
    def inside(self) -> bool:
        """Whether no window reaches into the padding or beyond the end."""
        windows = zip(self.size, self.out, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return all(p == 0 and (o - 1) * s + (k - 1) * d < n for n, o, k, s, p, d in windows)

    @property
    def near(self) -> tuple[int, ...]:
        """Windows along each dimension that may hold one input position."""
        windows = zip(self.kernel, self.stride, self.dilation, strict=True)
        return tuple(((k - 1) * d + s) // s for k, s, d in windows)

    @property
    def width(self) -> int:
        """Bits of a winner."""
        taps = prod(self.kernel)
        return 2 if taps <= 4 else 4 if taps <= 16 else 8


@triton.jit
def _locate(start, first, per_image, channels, height, width, INDEX: tl.constexpr):
    """Image (int64), depth, height, width and channel of the groups start + first; `per_image` groups an image."""
    at = (start % per_image).to(INDEX) + first
    image = start // per_image + (at // per_image).to(tl.int64)
    at = at % per_image
    position = at // channels
    line = position // width
    return image, line // height, line % height, position % width, at % channels


@triton.jit
def _skipped(begin, DILATION: tl.constexpr):
    """Taps in the left padding of a window that begins at `begin`."""
    return (tl.maximum(-begin, 0) + (DILATION - 1)) // DILATION


@triton.jit
def _take(
    x_ptr,
    best,
    won,
    tap,
    origin,
    lane,
    live,
    d,
    h,
    w,
    depth,
    height,
    width,
    channels,
    POOL: tl.constexpr,
    INSIDE: tl.constexpr,
    VEC: tl.constexpr,
):
    """(best, won) with one more tap of the windows that begin at (d, h, w): the first maximum, or the last NaN."""
    KH: tl.constexpr = POOL[1]
    KW: tl.constexpr = POOL[2]
    d += tap // (KH * KW) * POOL[9]
    h += tap // KW % KH * POOL[10]
    w += tap % KW * POOL[11]
    if not INSIDE:
        live = live & (d >= 0) & (d < depth) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    group = origin + ((d.to(tl.int64) * height + h) * width + w) * channels
    value = widen(tl.load(x_ptr + (group * VEC + lane), mask=live))
    taken = live & ((value > best) | (value != value))
    return tl.where(taken, value, best), tl.where(taken, tap, won)


@triton.jit
def _max_pool_pack_kernel(
    x_ptr,
    y_ptr,
    winner_ptr,
    mask_ptr,
    count,
    in_image,
    out_image,
    channels,
    depth,
    height,
    width,
    out_height,
    out_width,
    # (kernel, stride, padding, dilation), three of each.
    POOL: tl.constexpr,
    RELU: tl.constexpr,
    PACK: tl.constexpr,
    INSIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """y: (count,) values; winner: fields of WIDTH bits; mask: bits 1[y > 0]; in_image, out_image: groups an image."""
    KH: tl.constexpr = POOL[1]
    KW: tl.constexpr = POOL[2]
    TAPS: tl.constexpr = POOL[0] * KH * KW
    ACC: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
    start = tl.program_id(0).to(tl.int64) * (BLOCK // VEC)
    left = count - start * VEC
    first = tl.arange(0, BLOCK // VEC)[:, None]
    lane = tl.arange(0, VEC)[None, :]
    image, d, h, w, channel = _locate(start, first, out_image, channels, out_height, out_width, INDEX)
    d = d * POOL[3] - POOL[6]
    h = h * POOL[4] - POOL[7]
    w = w * POOL[5] - POOL[8]
    origin = image * in_image + channel
    live = first * VEC < left
    won = tl.zeros((BLOCK // VEC, VEC), tl.int32)
    if not INSIDE:
        tap = (_skipped(d, POOL[9]) * KH + _skipped(h, POOL[10])) * KW + _skipped(w, POOL[11])
        won += tap.to(tl.int32)
    # Pooling relu(x) is pooling x from 0 instead of -inf: the first tap wins unless one is larger.
    best = tl.full((BLOCK // VEC, VEC), 0.0 if RELU else float("-inf"), ACC)
    if TAPS <= _UNROLL_TAPS:
        for tap in tl.static_range(TAPS):
            best, won = _take(
                x_ptr, best, won, tap, origin, lane, live, d, h, w, depth, height, width, channels, POOL, INSIDE, VEC
            )
    else:
        for tap in range(TAPS):
            best, won = _take(
                x_ptr, best, won, tap, origin, lane, live, d, h, w, depth, height, width, channels, POOL, INSIDE, VEC
            )
    tl.store(y_ptr + (start + first) * VEC + lane, narrow(best, y_ptr.dtype.element_ty), mask=live)
    if PACK:
        store_fields(winner_ptr + start * VEC * WIDTH // 8, tl.where(live, won, 0), left, WIDTH, BLOCK)
        if RELU:
            store_fields(mask_ptr + start * VEC // 8, live & (best > 0), left, 1, BLOCK)


@triton.jit
def _give(
    g_ptr,
    winner_ptr,
    mask_ptr,
    total,
    near,
    before,
    origin,
    lane,
    live,
    d,
    h,
    w,
    out_depth,
    out_height,
    out_width,
    channels,
    POOL: tl.constexpr,
    NEAR: tl.constexpr,
    MODE: tl.constexpr,
    WIDTH: tl.constexpr,
    VEC: tl.constexpr,
):
    """`total` and the g of one more window of those that may hold the padded input position (d, h, w).

    They are counted from the last one backwards, along each dimension: this is their taps' order. `before` groups of g
    belong to the repeats before this one.
    """
    SD: tl.constexpr = POOL[3]
    SH: tl.constexpr = POOL[4]
    SW: tl.constexpr = POOL[5]
    od = d // SD - near // (NEAR[1] * NEAR[2])
    oh = h // SH - near // NEAR[2] % NEAR[1]
    ow = w // SW - near % NEAR[2]
    live = live & (od >= 0) & (od < out_depth) & (oh >= 0) & (oh < out_height) & (ow >= 0) & (ow < out_width)
    # How far from the window's beginning: it must be a whole number of taps, and of those it has.
    d -= od * SD
    h -= oh * SH
    w -= ow * SW
    live = live & (d % POOL[9] == 0) & (h % POOL[10] == 0) & (w % POOL[11] == 0)
    live = live & (d < POOL[0] * POOL[9]) & (h < POOL[1] * POOL[10]) & (w < POOL[2] * POOL[11])
    tap = (d // POOL[9] * POOL[1] + h // POOL[10]) * POOL[2] + w // POOL[11]
    group = origin + ((od.to(tl.int64) * out_height + oh) * out_width + ow) * channels
    value = widen(tl.load(g_ptr + ((before + group) * VEC + lane), mask=live))
    element = group * VEC
    if VEC * WIDTH > 32:
        # More bits than a word in a row of the tile: every value finds its own.
        winner = load_fields(winner_ptr, element + lane, 0, live, WIDTH, False)
    else:
        winner = load_fields(winner_ptr, element, lane, live, WIDTH, False)
    chosen = live & (winner == tap)
    if MODE & 1:
        chosen = chosen & (load_fields(mask_ptr, element, lane, live, 1, False) != 0)
    return total + tl.where(chosen, value, tl.zeros_like(value))


@triton.jit
def _max_pool_scatter_kernel(
    g_ptr,
    winner_ptr,
    mask_ptr,
    out_ptr,
    count,
    period,
    blocks,
    in_image,
    out_image,
    channels,
    height,
    width,
    out_depth,
    out_height,
    out_width,
    # (kernel, stride, padding, dilation), three of each; windows along each dimension that may hold one position.
    POOL: tl.constexpr,
    NEAR: tl.constexpr,
    MODE: tl.constexpr,
    WIDTH: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """out: (repeats * count,) groups; g: (repeats * period,); winner, mask: of one period; `blocks` programs a repeat.

    A gather: every input position adds up its own windows, so nothing is cleared first and nothing is atomic.
    """
    WINDOWS: tl.constexpr = NEAR[0] * NEAR[1] * NEAR[2]
    ACC: tl.constexpr = tl.float64 if out_ptr.dtype.element_ty == tl.float64 else tl.float32
    program = tl.program_id(0)
    start = (program % blocks).to(tl.int64) * (BLOCK // VEC)
    repeat = (program // blocks).to(tl.int64)
    first = tl.arange(0, BLOCK // VEC)[:, None]
    lane = tl.arange(0, VEC)[None, :]
    image, d, h, w, channel = _locate(start, first, in_image, channels, height, width, INDEX)
    d += POOL[6]
    h += POOL[7]
    w += POOL[8]
    origin = image * out_image + channel
    live = start + first < count
    total = tl.zeros((BLOCK // VEC, VEC), ACC)
    if WINDOWS <= _UNROLL_WINDOWS:
        for near in tl.static_range(WINDOWS):
            total = _give(
                g_ptr,
                winner_ptr,
                mask_ptr,
                total,
                near,
                repeat * period,
                origin,
                lane,
                live,
                d,
                h,
                w,
                out_depth,
                out_height,
                out_width,
                channels,
                POOL,
                NEAR,
                MODE,
                WIDTH,
                VEC,
            )
    else:
        for near in range(WINDOWS):
            total = _give(
                g_ptr,
                winner_ptr,
                mask_ptr,
                total,
                near,
                repeat * period,
                origin,
                lane,
                live,
                d,
                h,
                w,
                out_depth,
                out_height,
                out_width,
                channels,
                POOL,
                NEAR,
                MODE,
                WIDTH,
                VEC,
            )
    if MODE & 2:
        total = tl.where(total > 0, total, tl.zeros_like(total))
    tl.store(
        out_ptr + (repeat * count + start + first) * VEC + lane, narrow(total, out_ptr.dtype.element_ty), mask=live
    )


@lru_cache(maxsize=1024)
def _constants(pool: Pool, dtype: torch.dtype) -> dict:
    """What both kernels are specialised for."""
    block, vector = block_size(dtype), vector_size(dtype)
    if pool.channels % vector:
        # Every value has an index of its own: four of them to a thread.
        block, vector = 512, 1
    largest = max(prod(pool.size), prod(pool.out)) * pool.channels
    return {
        "POOL": (*pool.kernel, *pool.stride, *pool.padding, *pool.dilation),
        "WIDTH": pool.width,
        "INDEX": index_type(largest, block),
        "BLOCK": block,
        "VEC": vector,
    }


def max_pool_pack(x: Tensor, y: Tensor, winner: Tensor | None, mask: Tensor | None, pool: Pool, relu: bool) -> None:
    """Launches the kernel.

    Args:
        x, y: elements in memory order; y has at least one.
        winner: uint8, fields of pool.width bits, one for each element of y; None to keep neither winners nor bits.
        mask: uint8, bits 1[y > 0], given with `winner` if `relu`.
    """
    constants = _constants(pool, x.dtype)
    count = y.numel()
    channels = pool.channels // constants["VEC"]
    launch(
        _max_pool_pack_kernel,
        triton.cdiv(count, constants["BLOCK"]),
        x,
        x,
        y,
        y if winner is None else winner,
        y if mask is None else mask,
        count,
        prod(pool.size) * channels,
        prod(pool.out) * channels,
        channels,
        *pool.size,
        *pool.out[1:],
        RELU=relu,
        PACK=winner is not None,
        INSIDE=pool.inside,
        **constants,
    )


def max_pool_scatter(
    g: Tensor, winner: Tensor, mask: Tensor | None, out: Tensor, pool: Pool, mode: int, period: int
) -> None:
    """Launches the kernel.

    Args:
        g: (repeats * period,) elements in memory order.
        winner: uint8, fields of pool.width bits of `period` elements, 4-byte aligned.
        mask: uint8, their bits, 4-byte aligned; needed where mode & 1.
        out: the elements of the pool's input, repeated as g; at least one.
    """
    constants = _constants(pool, g.dtype)
    repeats = g.numel() // period
    vector = constants["VEC"]
    count = out.numel() // repeats
    blocks = triton.cdiv(count, constants["BLOCK"])
    channels = pool.channels // vector
    launch(
        _max_pool_scatter_kernel,
        repeats * blocks,
        g,
        g,
        winner,
        winner if mask is None else mask,
        out,
        count // vector,
        period // vector,
        blocks,
        prod(pool.size) * channels,
        prod(pool.out) * channels,
        channels,
        *pool.size[1:],
        *pool.out,
        NEAR=pool.near,
        MODE=mode,
        **constants,
    )
