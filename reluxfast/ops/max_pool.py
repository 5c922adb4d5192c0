"""max_pool_pack and max_pool_scatter: max-pooling that keeps a 2-, 4- or 8-bit winner per window, and its reverse.

The winner is the offset of the window's maximum among its taps, row-major over the kernel: torch's rule, the first
maximum, or the last NaN if there is one. A ReLU before the pool may be fused: max_pool_pack then pools relu(x) without
storing it and its mask has bit 1[y > 0]; max_pool_scatter gates by that bit on the way back.

    s[e] = sum over the windows whose winner is e of (bit if mode & 1) * g
    out = s, or where mode & 2: s where s > 0, else 0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from reluxfast.ops._register import check_dtype, check_packed, register
from reluxfast.ops.gate import check_mode, check_period
from reluxfast.ops.layout import (
    accumulation_dtype,
    empty_in_order,
    from_memory_order,
    is_channels_last,
    memory_order,
)
from reluxfast.ops.packing import field_width, pack_bits, pack_fields, packed_bytes, unpack_bits, unpack_fields

_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _check_window(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], spatial: int
) -> None:
    torch._check(
        1 <= spatial <= 3,
        lambda: f"a pooled tensor must have shape (N, C, *S) with 1 to 3 spatial sizes, got {spatial} of them",
    )
    for name, value in (("kernel", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation)):
        least = 0 if name == "padding" else 1
        torch._check(
            len(value) == spatial and all(v >= least for v in value),
            lambda name=name, value=value, least=least: (
                f"{name} must have {spatial} sizes of at least {least}, one per spatial dimension, got {list(value)}"
            ),
        )
    torch._check(
        all(2 * p <= k for k, p in zip(kernel, padding, strict=True)),
        lambda: f"padding must be at most half of the kernel, got padding {list(padding)} for kernel {list(kernel)}",
    )


def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Output size of a pool along one dimension; a last window must start inside the input or its left padding."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    return out


def _output_spatial(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> list[int]:
    check_dtype("x", x)
    _check_window(kernel, stride, padding, dilation, x.dim() - 2)
    windows = list(zip(x.shape[2:], kernel, stride, padding, dilation, strict=True))
    out = [pooled_size(*w, ceil_mode) for w in windows]
    torch._check(
        all(o >= 1 for o in out),
        lambda: f"x must be at least as large as the dilated kernel {list(kernel)}, got shape {tuple(x.shape)}",
    )
    # With dilation > 1 a window that begins in the padding can step over a very small input altogether.
    torch._check(
        all(p == 0 or d == 1 or size >= d for size, _, _, p, d in windows),
        lambda: (
            f"x must be at least as large as the dilation {list(dilation)} where it is padded, "
            f"got shape {tuple(x.shape)}: a window would hold no element"
        ),
    )
    return out


def _winners(
    index: Tensor,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Tap offsets (N, C, *out) from torch's flat indices (N, C, *out) into the input's spatial sizes."""
    winner = torch.zeros_like(index)
    below = math.prod(size)
    taps = math.prod(kernel)
    for dim, (n, k, s, p, d) in enumerate(zip(size, kernel, stride, padding, dilation, strict=True)):
        below, taps = below // n, taps // k
        out = index.shape[2 + dim]
        start = torch.arange(out, device=index.device) * s - p
        start = start.view(-1, *[1] * (len(size) - 1 - dim))
        position = index // below % n
        winner += (position - start) // d * taps
    return winner


def max_pool_pack_reference(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    relu: bool,
    pack: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y (N, C, *out) in x's dense order, winner and mask (uint8, packed) of x (N, C, *S), by definition."""
    spatial = _output_spatial(x, kernel, stride, padding, dilation, ceil_mode)
    width = field_width(math.prod(kernel))
    channels_last = is_channels_last(x)
    shape = (*x.shape[:2], *spatial)
    none = x.new_empty((0,), dtype=torch.uint8)
    if math.prod(shape) == 0:
        return empty_in_order(x, shape, channels_last), none, none.clone()
    # Half types have no pooling kernel everywhere; widening keeps the order of the values.
    wide = x.to(accumulation_dtype(x.dtype)).contiguous()
    if relu:
        wide = torch.where(wide <= 0, wide.new_zeros(()), wide)  # NaN stays, and -0 becomes 0
    y, index = _POOLS[len(kernel)](
        wide, list(kernel), list(stride), list(padding), list(dilation), ceil_mode=ceil_mode, return_indices=True
    )
    y_flat = memory_order(y, channels_last)
    out = from_memory_order(y_flat.to(x.dtype), shape, channels_last)
    if not pack:
        return out, none, none.clone()
    winner = _winners(index, x.shape[2:], kernel, stride, padding, dilation)
    mask = pack_bits(y_flat > 0) if relu else none.clone()
    return out, pack_fields(memory_order(winner, channels_last), width), mask


def _fake_pack(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    relu: bool,
    pack: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    spatial = _output_spatial(x, kernel, stride, padding, dilation, ceil_mode)
    width = field_width(math.prod(kernel))
    y = empty_in_order(x, (*x.shape[:2], *spatial), is_channels_last(x))
    winner = x.new_empty((packed_bytes(y.numel(), width) if pack else 0,), dtype=torch.uint8)
    mask = x.new_empty((packed_bytes(y.numel()) if pack and relu else 0,), dtype=torch.uint8)
    return y, winner, mask


def _check_scatter(
    g: Tensor,
    winner: Tensor,
    mask: Tensor | None,
    input_spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    mode: int,
    period: int,
) -> None:
    check_dtype("g", g)
    check_mode(mode)
    check_period(g, period)
    spatial = g.dim() - 2
    _check_window(kernel, stride, padding, dilation, spatial)
    torch._check(
        len(input_spatial) == spatial and all(n >= 0 for n in input_spatial),
        lambda: f"input_spatial must have {spatial} sizes of at least 0, got {list(input_spatial)}",
    )
    torch._check(
        period % math.prod(g.shape[1:]) == 0 if g.numel() else True,
        lambda: f"period must be a whole number of rows of g, {math.prod(g.shape[1:])} elements each, got {period}",
    )
    for dim, (n, k, s, p, d) in enumerate(zip(input_spatial, kernel, stride, padding, dilation, strict=True)):
        sizes = [pooled_size(n, k, s, p, d, ceil_mode) for ceil_mode in (False, True)]
        torch._check(
            g.shape[2 + dim] == sizes[0] or g.shape[2 + dim] == sizes[1],
            lambda dim=dim, sizes=sizes: (
                f"g must have the pooled size in spatial dimension {dim}, {sizes[0]}, or {sizes[1]} with ceil_mode, "
                f"got {g.shape[2 + dim]}"
            ),
        )
    check_packed("winner", winner, g.device, packed_bytes(period, field_width(math.prod(kernel))))
    if mode & 1:
        torch._check(
            mask is not None, lambda: f"mask must be given for mode {mode}, got None; only modes 0 and 2 do without"
        )
        check_packed("mask", mask, g.device, packed_bytes(period))


def max_pool_scatter_reference(
    g: Tensor,
    winner: Tensor,
    mask: Tensor | None,
    input_spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    mode: int,
    period: int,
) -> Tensor:
    """out (R*N, C, *input_spatial) in the dense order of g (R*N, C, *out), by definition."""
    _check_scatter(g, winner, mask, input_spatial, kernel, stride, padding, dilation, mode, period)
    channels_last = is_channels_last(g)
    shape = (*g.shape[:2], *input_spatial)
    if g.numel() == 0:
        return from_memory_order(g.new_zeros((math.prod(shape),)), shape, channels_last)
    repeats = g.numel() // period
    width = field_width(math.prod(kernel))
    tap_of = from_memory_order(unpack_fields(winner, width, period).repeat(repeats), g.shape, channels_last)
    s = g.to(accumulation_dtype(g.dtype))
    zero = s.new_zeros(())
    if mode & 1:
        bits = from_memory_order(unpack_bits(mask, period).repeat(repeats), g.shape, channels_last)
        s = torch.where(bits, s, zero)
    total = s.new_zeros(shape)
    for tap, offsets in enumerate(product(*(range(k) for k in kernel))):
        source, target = [slice(None)] * 2, [slice(None)] * 2
        for o, n, m, st, p, d in zip(offsets, input_spatial, g.shape[2:], stride, padding, dilation, strict=True):
            shift = o * d - p  # window w reads input position w * st + shift
            first = max(0, -(shift // st))
            last = min(m - 1, (n - 1 - shift) // st)
            source.append(slice(first, max(last + 1, first)))
            target.append(slice(first * st + shift, max(last * st + shift + 1, first * st + shift), st))
        chosen = torch.where(tap_of[tuple(source)] == tap, s[tuple(source)], zero)
        total[tuple(target)] += chosen
    if mode & 2:
        total = torch.where(total > 0, total, zero)
    return from_memory_order(memory_order(total.to(g.dtype), channels_last), shape, channels_last)


def _fake_scatter(
    g: Tensor,
    winner: Tensor,
    mask: Tensor | None,
    input_spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    mode: int,
    period: int,
) -> Tensor:
    _check_scatter(g, winner, mask, input_spatial, kernel, stride, padding, dilation, mode, period)
    return empty_in_order(g, (*g.shape[:2], *input_spatial), is_channels_last(g))


register(
    "max_pool_pack",
    "(Tensor x, int[] kernel, int[] stride, int[] padding, int[] dilation, bool ceil_mode, bool relu, bool pack)"
    " -> (Tensor y, Tensor winner, Tensor mask)",
    max_pool_pack_reference,
    _fake_pack,
)
register(
    "max_pool_scatter",
    "(Tensor g, Tensor winner, Tensor? mask, int[] input_spatial, int[] kernel, int[] stride, int[] padding,"
    " int[] dilation, int gate_mode, int period) -> Tensor",
    max_pool_scatter_reference,
    _fake_scatter,
)
