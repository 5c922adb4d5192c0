"""soft_gate: the reverse step through a gate that is a number, with the skip connection's signal added on the way.

    s = g + skip                             (float32, or float64 for float64)
    out = s q, exactly 0 where q is 0        (q / 255 for a quantised gate: s times byte times the rounded 1/255)

The gate has g's shape but for fewer rows, a divisor of g's: element i of g's memory order uses gate i mod q.numel(), so
that several classes, stored class-major, share one. Gates come from `soft_gate_pack`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import check_dense, check_dtype, check_like, register
from reluxfast.ops.layout import (
    accumulation_dtype,
    empty_in_order,
    from_memory_order,
    is_channels_last,
    memory_order,
)


def _check(g: Tensor, q: Tensor, skip: Tensor | None) -> None:
    check_dtype("g", g)
    if skip is not None:
        check_like("skip", skip, "g", g)
    torch._check(
        q.dtype in (g.dtype, torch.uint8),
        lambda: f"q must have the dtype of g, {g.dtype}, or be uint8, got {q.dtype}",
    )
    torch._check(q.device == g.device, lambda: f"q must be on the device of g, {g.device}, got {q.device}")
    torch._check(
        q.dim() == g.dim() and q.shape[1:] == g.shape[1:],
        lambda: f"q must have g's shape but for the rows, {tuple(g.shape)}, got {tuple(q.shape)}",
    )
    torch._check(
        g.numel() == 0 or (q.numel() > 0 and g.numel() % q.numel() == 0),
        lambda: f"q must have a number of rows that divides g's, {g.shape[0]}, got {q.shape[0]}",
    )


def soft_gate_reference(g: Tensor, q: Tensor, skip: Tensor | None) -> Tensor:
    """The gated sum, in g's shape and dense order, by definition."""
    _check(g, q, skip)
    channels_last = is_channels_last(g)
    acc = accumulation_dtype(g.dtype)
    s = memory_order(g, channels_last).to(acc)
    if skip is not None:
        s = s + memory_order(skip, channels_last).to(acc)
    if g.numel():
        w = memory_order(q, channels_last).to(acc)
        if q.dtype == torch.uint8:
            w = w * torch.tensor(1 / 255, dtype=acc, device=g.device)
        w = w.repeat(g.numel() // q.numel())
        s = torch.where(w == 0, s.new_zeros(()), s * w)
    return from_memory_order(s.to(g.dtype), g.shape, channels_last)


def soft_gate_inplace_reference(g: Tensor, q: Tensor, skip: Tensor | None) -> None:
    """As `soft_gate_reference`, written into the dense tensor g."""
    check_dense("g", g, "soft_gate")
    g.copy_(soft_gate_reference(g, q, skip))


def _fake(g: Tensor, q: Tensor, skip: Tensor | None) -> Tensor:
    _check(g, q, skip)
    return empty_in_order(g, g.shape, is_channels_last(g))


def _fake_inplace(g: Tensor, q: Tensor, skip: Tensor | None) -> None:
    _check(g, q, skip)
    check_dense("g", g, "soft_gate")


register("soft_gate", "(Tensor g, Tensor q, Tensor? skip) -> Tensor", soft_gate_reference, _fake)
register("soft_gate_", "(Tensor(a!) g, Tensor q, Tensor? skip) -> ()", soft_gate_inplace_reference, _fake_inplace, True)
