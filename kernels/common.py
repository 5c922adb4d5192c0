"""What the kernels share: the tile, its channels, packed fields, rounding, bounds that keep NaN, and the launch.

A program handles one block of consecutive elements of the memory order as a tile (BLOCK // VEC, VEC) whose rows are one
16-byte access of one thread: what belongs to a row, such as its mask word, then needs no exchange between threads.
Element counts and block starts are int64, positions inside a block int32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.jit import JITFunction

_INT32_MAX = 2**31 - 1


@triton.jit
def widen(value):
    """Half types to float32, in which they are computed."""
    return value if value.dtype == tl.float64 else value.to(tl.float32)


# Whether TRITON_INTERPRET was set when the kernels were defined.
INTERPRETED = tl.constexpr(not isinstance(widen, JITFunction))
# Rows of a tile: two for each of a program's 128 threads. The interpreter's time goes by programs, not by elements.
ROWS = 1024 if INTERPRETED else 256


@triton.jit
def narrow(value, TO: tl.constexpr):
    """float32 or float64 to the type of storage, rounded to nearest even."""
    if INTERPRETED and TO == tl.bfloat16:
        # The interpreter truncates: leave it nothing to cut off.
        bits = value.to(tl.uint32, bitcast=True)
        even = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        value = tl.where(value == value, even.to(tl.float32, bitcast=True), value)
    return value.to(TO)


@triton.jit
def clamp(z, low, high):
    """min(max(z, low), high); a comparison with NaN is false, so NaN stays NaN."""
    y = tl.where(low > z, low, z)
    return tl.where(high < y, high, y)


@triton.jit
def load_tile(ptr, offsets, inside, WHOLE: tl.constexpr):
    """ptr[offsets] widened; a whole block needs no mask, which would split its 16-byte accesses."""
    if WHOLE:
        value = tl.load(ptr + offsets)
    else:
        value = tl.load(ptr + offsets, mask=inside)
    return widen(value)


@triton.jit
def store_tile(ptr, offsets, value, inside, WHOLE: tl.constexpr):
    """ptr[offsets] = value, rounded; masked as in `load_tile`."""
    if WHOLE:
        tl.store(ptr + offsets, narrow(value, ptr.dtype.element_ty))
    else:
        tl.store(ptr + offsets, narrow(value, ptr.dtype.element_ty), mask=inside)


@triton.jit
def channel_of(
    start,
    first,
    lane,
    run,
    channels,
    cycle,
    LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    INDEX: tl.constexpr,
    VEC: tl.constexpr,
):
    """The channel of each element of a block that begins at element `start` of the memory order.

    A channel is a run of `run` elements, in cycles of all channels; channels-last order (LAST) has runs of one.
    ALIGNED: rows of the tile do not cross the end of a run, nor, in channels-last order, of a cycle.
    """
    at = (start % cycle).to(INDEX) + first
    if not ALIGNED:
        at = at + lane
    if LAST:
        channel = at % channels
        if ALIGNED:
            channel = tl.multiple_of(channel, [VEC, VEC]) + lane
    else:
        channel = at // run % channels
    return channel


@triton.jit
def load_fields(ptr, first, lane, inside, WIDTH: tl.constexpr, WHOLE: tl.constexpr):
    """Fields of `WIDTH` bits of the elements first + lane, as uint32; `lane` stays within the 32-bit word of `first`.

    ptr: uint8, 4-byte aligned; `inside` masks `first`, as in `load_tile`.
    """
    at = ptr.to(tl.pointer_type(tl.uint32)) + first * WIDTH // 32
    if WHOLE:
        word = tl.load(at)
    else:
        word = tl.load(at, mask=inside)
    return (word >> ((first + lane) * WIDTH % 32).to(tl.uint32)) & ((1 << WIDTH) - 1)


@triton.jit
def store_fields(ptr, fields, left, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Packs a block's fields, of which the first `left` are real and the rest 0, `WIDTH` bits each.

    ptr: uint8, 4-byte aligned, at the block's first word; written up to the end of the word of the last real field.
    """
    PER_WORD: tl.constexpr = 32 // WIDTH
    WORDS: tl.constexpr = BLOCK // PER_WORD
    shifts = tl.arange(0, PER_WORD)[None, :] * WIDTH
    words = tl.sum(tl.reshape(fields.to(tl.uint32), (WORDS, PER_WORD)) << shifts, axis=1)
    at = tl.arange(0, WORDS)
    tl.store(ptr.to(tl.pointer_type(tl.uint32)) + at, words, mask=at * PER_WORD < left)


def vector_size(dtype: torch.dtype) -> int:
    """Elements of one 16-byte access."""
    return 16 // dtype.itemsize


def block_size(dtype: torch.dtype) -> int:
    """Elements of one program."""
    return ROWS * vector_size(dtype)


def index_type(largest: int, block: int) -> tl.dtype:
    """Integers for indices up to `largest` and a block beyond: 64-bit division is slow, 32-bit ones overflow."""
    return tl.int32 if largest + block <= _INT32_MAX else tl.int64


def launch(kernel, programs: int, on: Tensor, *arguments, **constants) -> None:
    """Runs `programs` programs on the device of the tensor `on`."""
    # As in the C++ kernels, no fused multiply-add; Triton 3.9 warns where nothing is said of it.
    constants["enable_fp_fusion"] = False
    if on.is_cuda and on.get_device() != torch.cuda.current_device():
        with torch.cuda.device(on.device):
            kernel[(programs,)](*arguments, **constants)
    else:
        kernel[(programs,)](*arguments, **constants)
