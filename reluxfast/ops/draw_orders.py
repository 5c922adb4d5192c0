"""draw_orders: random orders that depend on nothing but a seed, a stream, and the numbers of a row and a unit.

orders[r, u, :] is the stable argsort of n 32-bit draws of Philox 4x32-10 (philox.py) keyed by the seed, draw i being
word i mod 4 of the counter (rows[r], first + u, stream, i div 4). All orders are equally likely but for equal draws,
which come in the order of their numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import register
from reluxfast.ops.philox import draws

# Numbers of rows, units and streams are words of a counter.
_WORD = 1 << 32


def _check(rows: Tensor, seed: int, stream: int, first: int, count: int, n: int) -> None:
    torch._check(rows.dim() == 1, lambda: f"rows must have shape (R,), got {tuple(rows.shape)}")
    torch._check(rows.dtype == torch.int64, lambda: f"rows must be int64, got {rows.dtype}; convert it with .long()")
    torch._check(0 <= stream < _WORD, lambda: f"stream must lie between 0 and 2**32 - 1, got {stream}")
    torch._check(0 <= first <= _WORD, lambda: f"first must lie between 0 and 2**32, got {first}")
    torch._check(
        0 <= count <= _WORD - first,
        lambda: f"count must lie between 0 and 2**32 - first = {_WORD - first}, got {count}",
    )
    torch._check(0 <= n < 1 << 31, lambda: f"n must lie between 0 and 2**31 - 1, got {n}")


def draw_orders_reference(rows: Tensor, seed: int, stream: int, first: int, count: int, n: int) -> Tensor:
    """The orders by definition, after checking the values of rows."""
    _check(rows, seed, stream, first, count, n)
    for row in rows[(rows < 0) | (rows >= _WORD)][:1].tolist():
        raise RuntimeError(f"rows must lie between 0 and 2**32 - 1, got {row}")
    units = torch.arange(first, first + count, device=rows.device)
    orders = draws(seed, stream, rows, units, n).sort(stable=True, dim=-1).indices
    return orders.to(torch.int32, memory_format=torch.contiguous_format)


def _fake(rows: Tensor, seed: int, stream: int, first: int, count: int, n: int) -> Tensor:
    _check(rows, seed, stream, first, count, n)
    return rows.new_empty((rows.shape[0], count, n), dtype=torch.int32)


register(
    "draw_orders",
    "(Tensor rows, int seed, int stream, int first, int count, int n) -> Tensor",
    draw_orders_reference,
    _fake,
    triton=False,
)
