"""Triton kernels of max_pool_pack and max_pool_scatter.

Tensors are images of positions (depth, height, width) of `channels` groups of VEC values, innermost: VEC values are one
16-byte access in channels-last order where they divide the channels. Contiguous order is N*C images of one channel,
with VEC = 1. Missing spatial dimensions have size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import (
    ROWS,
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
    """A pool over depth, height and width, of tensors of one dtype; `channels` is 1 in contiguous order."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    channels: int
    dtype: torch.dtype

    @staticmethod
    def over(
        size: Sequence[int],
        out: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        channels: int,
        dtype: torch.dtype,
    ) -> Pool:
        """The pool from one, two or three values of each of its sizes."""
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
            dtype,
        )

    @cached_property
    def inside(self) -> bool:
        """Whether no window reaches into the padding or beyond the end."""
        windows = zip(self.size, self.out, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return all(p == 0 and (o - 1) * s + (k - 1) * d < n for n, o, k, s, p, d in windows)

    @cached_property
    def near(self) -> tuple[int, ...]:
        """Windows along each dimension that may hold one input position."""
        windows = zip(self.kernel, self.stride, self.dilation, strict=True)
        return tuple(((k - 1) * d + s) // s for k, s, d in windows)

    @cached_property
    def constants(self) -> dict:
        """What both kernels are specialised for."""
        block, vector = block_size(self.dtype), vector_size(self.dtype)
        taps = prod(self.kernel)
        width = 2 if taps <= 4 else 4 if taps <= 16 else 8
        if self.channels % vector:
            # Every value has an index of its own: four of them to a thread.
            block, vector = 2 * ROWS, 1
        elif vector * width > 32:
            # A row's winners fill more than a word: more registers a value, so fewer values.
            block //= 2
        return {
            "KERNEL": self.kernel,
            "STRIDE": self.stride,
            "PADDING": self.padding,
            "DILATION": self.dilation,
            # A window deeper than one may reach into the padding of a single layer.
            "DEEP": self.size[0] > 1 or self.kernel[0] > 1,
            "WIDTH": width,
            "INDEX": index_type(max(prod(self.size), prod(self.out)) * self.channels, block),
            "BLOCK": block,
            "VEC": vector,
        }

    @cached_property
    def groups(self) -> tuple[int, int, int]:
        """Groups of an image's input, of its output, and of one position."""
        channels = self.channels // self.constants["VEC"]
        return prod(self.size) * channels, prod(self.out) * channels, channels


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
    KERNEL: tl.constexpr,
    DILATION: tl.constexpr,
    DEEP: tl.constexpr,
    INSIDE: tl.constexpr,
    VEC: tl.constexpr,
):
    """(best, won) with one more tap of the windows that begin at (d, h, w): the first maximum, or the last NaN."""
    h += tap // KERNEL[2] % KERNEL[1] * DILATION[1]
    w += tap % KERNEL[2] * DILATION[2]
    if not INSIDE:
        live = live & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    line = h.to(tl.int64)
    if DEEP:
        d += tap // (KERNEL[1] * KERNEL[2]) * DILATION[0]
        if not INSIDE:
            live = live & (d >= 0) & (d < depth)
        line += d.to(tl.int64) * height
    group = origin + (line * width + w) * channels
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
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    DEEP: tl.constexpr,
    RELU: tl.constexpr,
    PACK: tl.constexpr,
    INSIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
    VEC: tl.constexpr,
):
    """y: (count,) values; winner: fields of WIDTH bits; mask: bits 1[y > 0]; in_image, out_image: groups an image."""
    TAPS: tl.constexpr = KERNEL[0] * KERNEL[1] * KERNEL[2]
    ACC: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
    start = tl.program_id(0).to(tl.int64) * (BLOCK // VEC)
    left = count - start * VEC
    first = tl.arange(0, BLOCK // VEC)[:, None]
    lane = tl.arange(0, VEC)[None, :]
    image, d, h, w, channel = _locate(start, first, out_image, channels, out_height, out_width, INDEX)
    d = d * STRIDE[0] - PADDING[0]
    h = h * STRIDE[1] - PADDING[1]
    w = w * STRIDE[2] - PADDING[2]
    origin = image * in_image + channel
    live = first * VEC < left
    won = tl.zeros((BLOCK // VEC, VEC), tl.int32)
    if not INSIDE:
        tap = _skipped(d, DILATION[0]) * KERNEL[1] + _skipped(h, DILATION[1])
        won += (tap * KERNEL[2] + _skipped(w, DILATION[2])).to(tl.int32)
    # Pooling relu(x) is pooling x from 0 instead of -inf: the first tap wins unless one is larger.
    best = tl.full((BLOCK // VEC, VEC), 0.0 if RELU else float("-inf"), ACC)
    # fmt: off
    if TAPS <= _UNROLL_TAPS:
        for tap in tl.static_range(TAPS):
            best, won = _take(x_ptr, best, won, tap, origin, lane, live, d, h, w, depth, height, width, channels,
                              KERNEL, DILATION, DEEP, INSIDE, VEC)
    else:
        for tap in range(TAPS):
            best, won = _take(x_ptr, best, won, tap, origin, lane, live, d, h, w, depth, height, width, channels,
                              KERNEL, DILATION, DEEP, INSIDE, VEC)
    # fmt: on
    tl.store(y_ptr + (start + first) * VEC + lane, narrow(best, y_ptr.dtype.element_ty), mask=live)
    if PACK:
        store_fields(winner_ptr + start * VEC * WIDTH // 8, tl.where(live, won, 0), left, WIDTH, BLOCK)
        if RELU:
            store_fields(mask_ptr + start * VEC // 8, live & (best > 0), left, 1, BLOCK)


@triton.jit
def _window(at, back, out, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr):
    """Along one dimension, `back` before the last window that may hold the padded position `at`.

    Returns the window, the position's tap in it, and whether there are such a window and tap.
    """
    window = at // STRIDE - back
    rest = at - window * STRIDE
    tap = rest // DILATION
    found = (window >= 0) & (window < out) & (tap < KERNEL)
    if DILATION > 1:
        found = found & (rest == tap * DILATION)
    return window, tap, found


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
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    NEAR: tl.constexpr,
    DEEP: tl.constexpr,
    MODE: tl.constexpr,
    WIDTH: tl.constexpr,
    VEC: tl.constexpr,
):
    """`total` and the g of one more window that may hold the padded position (d, h, w), in the order of their taps.

    `before` groups of g belong to the repeats before this one.
    """
    oh, tap, found = _window(h, near // NEAR[2] % NEAR[1], out_height, KERNEL[1], STRIDE[1], DILATION[1])
    live = live & found
    ow, tap_w, found = _window(w, near % NEAR[2], out_width, KERNEL[2], STRIDE[2], DILATION[2])
    live = live & found
    line = oh.to(tl.int64)
    if DEEP:
        od, tap_d, found = _window(d, near // (NEAR[1] * NEAR[2]), out_depth, KERNEL[0], STRIDE[0], DILATION[0])
        live = live & found
        tap += tap_d * KERNEL[1]
        line += od.to(tl.int64) * out_height
    tap = tap * KERNEL[2] + tap_w
    group = origin + (line * out_width + ow) * channels
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
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    DEEP: tl.constexpr,
    # Windows along each dimension that may hold one position.
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
    d += PADDING[0]
    h += PADDING[1]
    w += PADDING[2]
    before = repeat * period
    origin = image * out_image + channel
    live = start + first < count
    total = tl.zeros((BLOCK // VEC, VEC), ACC)
    # fmt: off
    if WINDOWS <= _UNROLL_WINDOWS:
        for near in tl.static_range(WINDOWS):
            total = _give(g_ptr, winner_ptr, mask_ptr, total, near, before, origin, lane, live, d, h, w,
                          out_depth, out_height, out_width, channels,
                          KERNEL, STRIDE, DILATION, NEAR, DEEP, MODE, WIDTH, VEC)
    else:
        for near in range(WINDOWS):
            total = _give(g_ptr, winner_ptr, mask_ptr, total, near, before, origin, lane, live, d, h, w,
                          out_depth, out_height, out_width, channels,
                          KERNEL, STRIDE, DILATION, NEAR, DEEP, MODE, WIDTH, VEC)
    # fmt: on
    if MODE & 2:
        total = tl.where(total > 0, total, tl.zeros_like(total))
    tl.store(
        out_ptr + (repeat * count + start + first) * VEC + lane, narrow(total, out_ptr.dtype.element_ty), mask=live
    )


def max_pool_pack(x: Tensor, y: Tensor, winner: Tensor | None, mask: Tensor | None, pool: Pool, relu: bool) -> None:
    """Launches the kernel.

    Args:
        x, y: elements in memory order; y has at least one.
        winner: uint8, winners of y's elements; None to keep neither winners nor bits.
        mask: uint8, bits 1[y > 0], given with `winner` if `relu`.
    """
    constants = pool.constants
    count = y.numel()
    launch(
        _max_pool_pack_kernel,
        triton.cdiv(count, constants["BLOCK"]),
        x,
        x,
        y,
        y if winner is None else winner,
        y if mask is None else mask,
        count,
        *pool.groups,
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
        winner: uint8, winners of `period` elements, 4-byte aligned.
        mask: uint8, their bits, 4-byte aligned; needed where mode & 1.
        out: the elements of the pool's input, repeated as g; at least one.
    """
    constants = pool.constants
    repeats = g.numel() // period
    vector = constants["VEC"]
    count = out.numel() // repeats
    blocks = triton.cdiv(count, constants["BLOCK"])
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
        *pool.groups,
        *pool.size[1:],
        *pool.out,
        NEAR=pool.near,
        MODE=mode,
        **constants,
    )
