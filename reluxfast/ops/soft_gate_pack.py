"""soft_gate_pack: bias, residual, ReLU and the gates of an LRP rule in one pass.

    a = z + bias[c]                          (float32, or float64 for float64)
    y = a + residual
    v = min(max(y, lo), hi)                  (NaN stays NaN)
    D = f a + f' (d + d_bias[c])             (f a alone without d)
    S = D + ε where D >= 0, else D - ε
    n = v, or 1, or 1[v != 0]                (by `numerator`: 0, 1, 2)
    q = n / S, exactly 0 where n = 0, where S = 0, and where the branch excludes y (1: not y > 0; 2: not y < 0)

A walk of relevance written as `R = v ⊙ c` is the gradient walk with q in the place of the ReLU's derivative; 1 / S is
the factor of a walk of relevance itself. One call makes one gate or two, from one z and d: those of α-β are v / s(z)
and v / s(d), with the positive part z, the negative part d, and d once more as the residual. A quantised gate is the
byte `floor(255 q + 1/2)`, q cut to [0, 1], NaN as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reluxfast.ops._register import check_bias, check_dense, check_dtype, check_like, register
from reluxfast.ops.layout import (
    accumulation_dtype,
    empty_in_order,
    from_memory_order,
    is_channels_last,
    is_dense,
    memory_order,
)


def _check(
    z: Tensor,
    d: Tensor | None,
    bias: Tensor | None,
    d_bias: Tensor | None,
    residual: Tensor | None,
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    numerator: int,
) -> None:
    check_dtype("z", z)
    for name, value in (("d", d), ("residual", residual)):
        if value is not None:
            check_like(name, value, "z", z)
    check_bias("bias", bias, "z", z)
    check_bias("d_bias", d_bias, "z", z)
    torch._check(d is not None or d_bias is None, lambda: "d_bias must be None without d, got a tensor")
    torch._check(
        len(branches) in (1, 2) and all(0 <= b <= 2 for b in branches),
        lambda: f"branches must be one or two of 0 (all), 1 (y > 0), 2 (y < 0), got {list(branches)}",
    )
    torch._check(
        len(factors) == 2 * len(branches),
        lambda: f"factors must hold two numbers for each of {len(branches)} gate(s), got {list(factors)}",
    )
    torch._check(epsilon >= 0, lambda: f"epsilon must not be negative, got {epsilon}")
    torch._check(
        0 <= numerator <= 2, lambda: f"numerator must be 0 (v), 1 (one) or 2 (one where v is not 0), got {numerator}"
    )


def soft_gate_pack_reference(
    z: Tensor,
    d: Tensor | None,
    bias: Tensor | None,
    d_bias: Tensor | None,
    residual: Tensor | None,
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    numerator: int,
    quantise: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """v and one or two gates in z's shape and dense order, by definition; a gate not asked for is empty, (0,)."""
    _check(z, d, bias, d_bias, residual, factors, branches, epsilon, numerator)
    channels_last = is_channels_last(z)
    acc = accumulation_dtype(z.dtype)

    def wide(x: Tensor, b: Tensor | None) -> Tensor:
        x = x.to(acc)
        return x if b is None else x + b.to(acc).view(-1, *[1] * (x.dim() - 2))

    a = wide(z, bias)
    y = a if residual is None else a + residual.to(acc)
    low, high, zero = y.new_full((), lo), y.new_full((), hi), y.new_zeros(())
    v = torch.where(low > y, low, y)
    v = torch.where(high < v, high, v)
    below = None if d is None else wide(d, d_bias)
    n = v if numerator == 0 else torch.ones_like(v)
    open_ = torch.ones_like(v, dtype=torch.bool) if numerator == 1 else v != 0
    gates = []
    for branch, f, f_d in zip(branches, factors[::2], factors[1::2], strict=True):
        full = f * a if below is None else f * a + f_d * below
        s = torch.where(full >= 0, full + epsilon, full - epsilon)
        keep = open_ & (s != 0)
        if branch:
            keep = keep & (y > 0 if branch == 1 else y < 0)
        q = torch.where(keep, n, zero) / torch.where(keep, s, 1.0)  # no quotient by 0, not even a hidden one
        gates.append(_in_order(_quantised(q) if quantise else q.to(z.dtype), channels_last))
    none = z.new_empty((0,), dtype=torch.uint8 if quantise else z.dtype)
    return _in_order(v.to(z.dtype), channels_last), gates[0], gates[1] if len(gates) == 2 else none


def _quantised(q: Tensor) -> Tensor:
    return torch.where(q > 0, (255 * q + 0.5).clamp(max=255), 0.0).to(torch.uint8)


def _in_order(x: Tensor, channels_last: bool) -> Tensor:
    return from_memory_order(memory_order(x, channels_last), x.shape, channels_last)


def _check_gates(z: Tensor, q: Tensor, second: Tensor | None, branches: Sequence[int]) -> None:
    torch._check(
        (second is not None) == (len(branches) == 2),
        lambda: f"second must be given for two branches and only then, got {len(branches)} branch(es)",
    )
    torch._check(
        q.dtype in (z.dtype, torch.uint8), lambda: f"q must have z's dtype, {z.dtype}, or be uint8, got {q.dtype}"
    )
    for name, gate in (("q", q), ("second", second)):
        if gate is None:
            continue
        torch._check(
            gate.dtype == q.dtype and gate.device == z.device,
            lambda name=name, gate=gate: (
                f"{name} must be {q.dtype} on {z.device} as z and q are, got {gate.dtype} on {gate.device}"
            ),
        )
        torch._check(
            gate.shape == z.shape and is_dense(gate) and is_channels_last(gate) == is_channels_last(z),
            lambda name=name, gate=gate: (
                f"{name} must have z's shape and dense order, {tuple(z.shape)} with strides {tuple(z.stride())}, "
                f"got {tuple(gate.shape)} with strides {tuple(gate.stride())}"
            ),
        )


def _check_inplace(
    z: Tensor,
    q: Tensor,
    second: Tensor | None,
    d: Tensor | None,
    bias: Tensor | None,
    d_bias: Tensor | None,
    residual: Tensor | None,
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    numerator: int,
) -> None:
    _check(z, d, bias, d_bias, residual, factors, branches, epsilon, numerator)
    check_dense("z", z, "soft_gate_pack")
    _check_gates(z, q, second, branches)


def soft_gate_pack_inplace_reference(
    z: Tensor,
    q: Tensor,
    second: Tensor | None,
    d: Tensor | None,
    bias: Tensor | None,
    d_bias: Tensor | None,
    residual: Tensor | None,
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    numerator: int,
) -> None:
    """As `soft_gate_pack_reference`, v written into the dense tensor z, the gates into q and second."""
    numbers = (factors, branches, epsilon, lo, hi, numerator)
    _check_inplace(z, q, second, d, bias, d_bias, residual, *numbers)
    v, first, other = soft_gate_pack_reference(z, d, bias, d_bias, residual, *numbers, q.dtype == torch.uint8)
    z.copy_(v)
    q.copy_(first)
    if second is not None:
        second.copy_(other)


def _fake_gates(z: Tensor, count: int, quantise: bool) -> tuple[Tensor, Tensor]:
    like = z.new_empty((0,), dtype=torch.uint8) if quantise else z
    last = is_channels_last(z)
    made = [empty_in_order(like, z.shape, last) for _ in range(count)]
    return made[0], made[1] if count == 2 else like.new_empty((0,))


def _fake(
    z: Tensor,
    d: Tensor | None,
    bias: Tensor | None,
    d_bias: Tensor | None,
    residual: Tensor | None,
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    numerator: int,
    quantise: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    _check(z, d, bias, d_bias, residual, factors, branches, epsilon, numerator)
    return empty_in_order(z, z.shape, is_channels_last(z)), *_fake_gates(z, len(branches), quantise)


_SUMMANDS = "Tensor? d, Tensor? bias, Tensor? d_bias, Tensor? residual"
_NUMBERS = "float[] factors, int[] branches, float epsilon, float lo, float hi, int numerator"
register(
    "soft_gate_pack",
    f"(Tensor z, {_SUMMANDS}, {_NUMBERS}, bool quantise) -> (Tensor, Tensor, Tensor)",
    soft_gate_pack_reference,
    _fake,
)
register(
    "soft_gate_pack_",
    f"(Tensor(a!) z, Tensor(b!) q, Tensor(c!)? second, {_SUMMANDS}, {_NUMBERS}) -> ()",
    soft_gate_pack_inplace_reference,
    _check_inplace,
    mutates=True,
)
