"""The ops stated a second time, in float64 and numpy and sharing no code with them, and the tensors they are tested on.

Inputs lie on a grid of quarters, so that every sum of them is exact in every dtype: results and bits must then be
equal, not merely close. Quotients are so where denominators are powers of two; elsewhere `soft_gate_pack` and
`soft_gate` are given arrays of the dtype that an op computes in, and round at each step as it must.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channels_last", "permuted", "sliced")


def grid(shape: tuple[int, ...], seed: int, special: bool = False) -> np.ndarray:
    """Quarters between -4 and 4 as float64; `special` puts NaN, infinities and negative zero among them."""
    generator = np.random.default_rng(seed)
    values = generator.integers(-16, 17, size=shape) / 4
    if special and values.size:
        for value in (np.nan, np.inf, -np.inf, -0.0):
            values[generator.random(shape) < 0.1] = value
    return values


def tensor(values: np.ndarray, dtype: torch.dtype, layout: str) -> Tensor:
    """The values as a tensor whose memory is laid out as named; "permuted" and "sliced" are not dense."""
    x = torch.tensor(values, dtype=dtype)
    if layout == "channels_last" and x.dim() >= 3:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "permuted":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced":
        return torch.stack([x, torch.full_like(x, 99)], dim=-1)[..., 0]
    return x


def array(x: Tensor) -> np.ndarray:
    """x as float64."""
    return x.double().cpu().numpy()


def wide_array(x: Tensor) -> np.ndarray:
    """x in the dtype that ops compute in: float64 for float64, else float32."""
    return (x if x.dtype == torch.float64 else x.float()).cpu().numpy()


def in_memory_order(values: np.ndarray, like: Tensor) -> np.ndarray:
    """The elements in the dense order that `like`, an op's input, has or is brought to."""
    last = like.dim() >= 3 and not like.is_contiguous() and like.movedim(1, -1).is_contiguous()
    return (np.moveaxis(values, 1, -1) if last else values).ravel()


def packed_tensor(values: np.ndarray, width: int, like: Tensor) -> Tensor:
    """The fields of `values` in the dense order of `like`, on its device."""
    return torch.from_numpy(packed(in_memory_order(values, like), width)).to(like.device)


def packed(values: np.ndarray, width: int) -> np.ndarray:
    """Fields of `width` bits, lowest bit first, padded with zeros to whole groups of four bytes."""
    bits = (values.astype(np.int64)[:, None] >> np.arange(width)) & 1
    flat = np.zeros(math.ceil(values.size * width / 32) * 32, dtype=np.uint8)
    flat[: values.size * width] = bits.ravel()
    return np.packbits(flat, bitorder="little")


def relu_pack(x, bias, residual, lo, hi) -> tuple[np.ndarray, np.ndarray]:
    """y and the bits 1[lo < z < hi], both of x's shape."""
    z = x.copy()
    if bias is not None:
        z = z + bias.reshape(-1, *[1] * (x.ndim - 2))
    if residual is not None:
        with np.errstate(invalid="ignore"):
            z = z + residual
    y = np.where(np.isnan(z), z, np.minimum(np.maximum(z, lo), hi))
    return y, (z > lo) & (z < hi)


def gate(g, bits, skip, mode) -> np.ndarray:
    """The gated sum; `bits`, (N, ...), is repeated over the classes that g, (R*N, ...), holds one after the other."""
    with np.errstate(invalid="ignore"):
        s = g if skip is None else g + skip
    keep = np.ones(g.shape, dtype=bool)
    if mode & 1:
        keep &= np.concatenate([bits] * (len(g) // max(len(bits), 1))) if len(bits) else bits
    if mode & 2:
        keep &= s > 0
    return np.where(keep, s, 0.0)


def soft_gate_pack(
    z, d, bias, d_bias, residual, factors, branches, epsilon, lo, hi, numerator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """v and the quotients n / s(D), one array per branch, all of z's shape and dtype."""

    def shifted(x, b):
        return x if b is None else x + b.reshape(-1, *[1] * (x.ndim - 2))

    with np.errstate(all="ignore"):
        a = shifted(z, bias)
        y = a if residual is None else a + residual
        v = np.where(np.isnan(y), y, np.minimum(np.maximum(y, y.dtype.type(lo)), y.dtype.type(hi)))
        gates = []
        for branch, (f, f_d) in zip(branches, np.reshape(factors, (-1, 2)).tolist(), strict=True):
            full = f * a if d is None else f * a + f_d * shifted(d, d_bias)
            s = np.where(full < 0, full - epsilon, full + epsilon)
            n = v if numerator == 0 else np.ones_like(v)
            closed = (s == 0) | ((v == 0) & (numerator != 1))
            closed |= [np.zeros(y.shape, dtype=bool), ~(y > 0), ~(y < 0)][branch]
            gates.append(np.where(closed, 0, n / s).astype(y.dtype))
    return v, gates


def quantised(q) -> np.ndarray:
    """The bytes of gates between 0 and 1."""
    with np.errstate(all="ignore"):
        return np.floor(np.nan_to_num(np.clip(q, 0, 1)) * 255 + q.dtype.type(0.5)).astype(np.uint8)


def soft_gate(g, q, skip) -> np.ndarray:
    """The sum times its gate; q, (N, ...), is repeated over the classes that g, (R*N, ...), holds one after the other.

    A byte stands for its 255th part.
    """
    if q.dtype == np.uint8:
        q = q.astype(g.dtype) * g.dtype.type(1 / 255)
    q = np.concatenate([q] * (len(g) // max(len(q), 1))) if len(q) else q
    with np.errstate(all="ignore"):
        s = g if skip is None else g + skip
        return np.where(q == 0, 0, s * q).astype(g.dtype)


def write_coalitions(x, background, labels, ranks, jobs) -> np.ndarray:
    """One row for each (row, base, order, below) of jobs, element by element."""
    made = np.empty((len(jobs), len(labels)), dtype=x.dtype)
    for m, (row, base, order, below) in enumerate(jobs.tolist()):
        for e, player in enumerate(labels.tolist()):
            made[m, e] = x[row, e] if ranks[order, player] < below else background[base, e]
    return made


def philox(counter: tuple[int, int, int, int], key: int) -> tuple[int, ...]:
    """The four words of Philox 4x32-10 for one counter."""
    x0, x1, x2, x3 = counter
    for turn in range(10):
        keys = [((key >> 32 * half) + turn * step) % 2**32 for half, step in enumerate((0x9E3779B9, 0xBB67AE85))]
        high0, low0 = divmod(x0 * 0xD2511F53, 2**32)
        high2, low2 = divmod(x2 * 0xCD9E8D57, 2**32)
        x0, x1, x2, x3 = high2 ^ x1 ^ keys[0], low2, high0 ^ x3 ^ keys[1], low0
    return x0, x1, x2, x3


def drawn(row: int, seed: int, stream: int, unit: int, n: int) -> list[int]:
    """The n draws of one row and unit."""
    words = [philox((row, unit, stream, block), seed % 2**64) for block in range((n + 3) // 4)]
    return list(itertools.chain.from_iterable(words))[:n]


def draw_orders(rows, seed, stream, first, count, n) -> np.ndarray:
    """(R, count, n): numbers sorted by their draws, and by themselves where draws are equal."""
    orders = np.empty((len(rows), count, n), dtype=np.int32)
    for r, u in np.ndindex(len(rows), count):
        draws = drawn(int(rows[r]), seed, stream, first + u, n)
        orders[r, u] = sorted(range(n), key=lambda i, draws=draws: (draws[i], i))
    return orders


def accumulate_moments(count, mean, m2, rows, units) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The new count, mean and m2, element by element in Python's floats, which round after each operation."""
    count, mean, m2 = count.copy(), mean.copy(), m2.copy()
    for r, row in enumerate(rows.tolist()):
        for at in np.ndindex(units.shape[2:]):
            center, spread = float(mean[(row, *at)]), float(m2[(row, *at)])
            for g, value in enumerate(units[(r, slice(None), *at)].tolist()):
                before = value - center
                center = center + before / (int(count[row]) + g + 1)
                spread = spread + before * (value - center)
            mean[(row, *at)], m2[(row, *at)] = center, spread
        count[row] += units.shape[1]
    return count, mean, m2


def windows(size, kernel, stride, padding, dilation, ceil_mode):
    """For each window along one dimension, its list of (tap, position) inside the input."""
    found = []
    for start in itertools.count(-padding, stride):
        end = start + (kernel - 1) * dilation + 1
        overhang = end - (size + padding)
        if overhang > 0 and not (ceil_mode and overhang < stride and start < size):
            return found
        taps = [(tap, start + tap * dilation) for tap in range(kernel)]
        found.append([(tap, at) for tap, at in taps if 0 <= at < size])
    return found


def pool_windows(spatial, kernel, stride, padding, dilation, ceil_mode):
    """Output sizes, and for each output index its list of (row-major tap, input index)."""
    along = [windows(*one, ceil_mode) for one in zip(spatial, kernel, stride, padding, dilation, strict=True)]
    out = tuple(len(w) for w in along)
    listed = {}
    for index in itertools.product(*(range(n) for n in out)):
        choices = itertools.product(*(along[d][i] for d, i in enumerate(index)))
        listed[index] = [
            (int(np.ravel_multi_index([tap for tap, _ in choice], kernel)), tuple(at for _, at in choice))
            for choice in choices
        ]
    return out, listed


def max_pool(x, pool, relu) -> tuple[np.ndarray, np.ndarray]:
    """y and the winning taps, (N, C, *out): the first maximum, or the last NaN."""
    out, listed = pool_windows(x.shape[2:], *pool)
    if relu:
        x = np.where(x < 0, 0.0, x)
    y = np.full((*x.shape[:2], *out), -np.inf)
    winner = np.zeros(y.shape, dtype=np.int64)
    for index, taps in listed.items():
        best, won = y[(..., *index)], winner[(..., *index)]
        won[...] = taps[0][0]
        for tap, at in taps:
            value = x[(..., *at)]
            taken = (value > best) | np.isnan(value)
            won[taken] = tap
            best[taken] = value[taken]
    return y, winner


def max_pool_scatter(g, winner, bits, spatial, pool, mode) -> np.ndarray:
    """Each window's g, gated, added at its winner, (R*N, C, *spatial)."""
    repeats = len(g) // max(len(winner), 1)
    winner = np.concatenate([winner] * repeats) if repeats else winner
    if mode & 1:
        g = np.where(np.concatenate([bits] * repeats) if repeats else bits, g, 0.0)
    s = np.zeros((*g.shape[:2], *spatial))
    _, listed = pool_windows(spatial, *pool)
    for index, taps in listed.items():
        for tap, at in taps:
            s[(..., *at)] += np.where(winner[(..., *index)] == tap, g[(..., *index)], 0.0)
    return np.where(s > 0, s, 0.0) if mode & 2 else s


def assert_equal(actual: Tensor, expected: np.ndarray, like: Tensor) -> None:
    """Equal values, NaN where NaN is expected, and the dense order of the op's input `like`; bytes where expected."""
    assert actual.dtype == (torch.uint8 if expected.dtype == np.uint8 else like.dtype)
    assert tuple(actual.shape) == expected.shape
    got, want = array(actual), torch.from_numpy(expected).to(actual.dtype).double().numpy()
    wrong = np.argwhere(~((got == want) | (np.isnan(got) & np.isnan(want))))
    first = [f"{tuple(i)}: got {got[tuple(i)]}, expected {want[tuple(i)]}" for i in wrong[:5]]
    assert not len(wrong), f"{len(wrong)} of {got.size} elements differ; the first: " + "; ".join(first)
    last = like.dim() >= 3 and not like.is_contiguous() and like.movedim(1, -1).is_contiguous()
    dense = actual.movedim(1, -1) if last else actual
    assert dense.is_contiguous(), f"strides {actual.stride()} do not keep the order of strides {like.stride()}"


def assert_packed(actual: Tensor, values: np.ndarray, width: int, like: Tensor) -> None:
    """The packed bytes are those of `values` in the memory order that `like` has."""
    assert actual.dtype == torch.uint8
    expected = packed(in_memory_order(values, like), width)
    assert actual.tolist() == expected.tolist()
