"""The fused operators torch.ops.reluxfast.*, and the functions that call them through the active backend.

Each operator has a schema, a fake and a pure-torch reference here; compiled kernels only implement. None of them has a
derivative. What an operator computes stands at the head of its file: relu_pack.py, gate.py, max_pool.py,
soft_gate_pack.py, soft_gate.py, write_coalitions.py, mlp_chains.py, mlp_outer_sums.py, draw_orders.py,
accumulate_moments.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reluxfast.errors import BackendUnavailable
from reluxfast.ops._register import ON_TRITON, WITHOUT_KERNEL, WITHOUT_TRITON, beyond_triton, triton_implementation
from reluxfast.ops.accumulate_moments import accumulate_moments_inplace_reference
from reluxfast.ops.backend import (
    active_backend,
    available_backends,
    backend,
    check_device,
    warn_about_fallback,
)
from reluxfast.ops.draw_orders import draw_orders_reference
from reluxfast.ops.gate import MODES, gate_inplace_reference, gate_reference
from reluxfast.ops.max_pool import max_pool_pack_reference, max_pool_scatter_reference
from reluxfast.ops.mlp_chains import mlp_chains_reference
from reluxfast.ops.mlp_outer_sums import mlp_outer_sums_reference
from reluxfast.ops.relu_pack import relu_pack_inplace_reference, relu_pack_reference
from reluxfast.ops.soft_gate import soft_gate_inplace_reference, soft_gate_reference
from reluxfast.ops.soft_gate_pack import soft_gate_pack_inplace_reference, soft_gate_pack_reference
from reluxfast.ops.write_coalitions import write_coalitions_inplace_reference

__all__ = [
    "MODES",
    "accumulate_moments_",
    "active_backend",
    "available_backends",
    "backend",
    "draw_orders",
    "gate",
    "gate_",
    "max_pool_pack",
    "max_pool_scatter",
    "mlp_chains",
    "mlp_outer_sums",
    "relu_pack",
    "relu_pack_",
    "soft_gate",
    "soft_gate_",
    "soft_gate_pack",
    "soft_gate_pack_",
    "write_coalitions_",
]

_REFERENCES: dict[str, Callable] = {
    "relu_pack": relu_pack_reference,
    "relu_pack_": relu_pack_inplace_reference,
    "gate": gate_reference,
    "gate_": gate_inplace_reference,
    "max_pool_pack": max_pool_pack_reference,
    "max_pool_scatter": max_pool_scatter_reference,
    "soft_gate_pack": soft_gate_pack_reference,
    "soft_gate_pack_": soft_gate_pack_inplace_reference,
    "soft_gate": soft_gate_reference,
    "soft_gate_": soft_gate_inplace_reference,
    "write_coalitions_": write_coalitions_inplace_reference,
    "mlp_chains": mlp_chains_reference,
    "mlp_outer_sums": mlp_outer_sums_reference,
    "draw_orders": draw_orders_reference,
    "accumulate_moments_": accumulate_moments_inplace_reference,
}
# Operator, reference and Triton's kernel of each op. The dispatcher runs Triton's on CUDA where the library has none.
_IMPLEMENTATIONS: dict[str, tuple[Callable, Callable, Callable]] = {
    name: (getattr(torch.ops.reluxfast, name).default, reference, triton_implementation(name))
    for name, reference in _REFERENCES.items()
}


def _below_autograd(operator: Callable) -> Callable:
    """The operator for calls that record no gradients: without the dispatcher's visit to Python for them."""

    def call(*args):
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*args)

    return call


_UNRECORDED: dict[str, Callable] = {name: _below_autograd(op) for name, (op, *_) in _IMPLEMENTATIONS.items()}


def _implementation(name: str, x: Tensor) -> Callable:
    operator, reference, triton = _IMPLEMENTATIONS[name]
    # A compiled graph holds the operator itself; the choice of a backend belongs to eager calls.
    if torch.compiler.is_compiling():
        return operator
    if not torch.is_grad_enabled():
        operator = _UNRECORDED[name]
    chosen = active_backend()
    if chosen == "auto":
        warn_about_fallback(x.device.type)
        return operator
    check_device(chosen, x.device)
    if name in WITHOUT_TRITON and chosen != "cpp":
        # Whole numbers, and single additions in a stated order: the same bits from every implementation.
        return reference
    if chosen == "cuda" and not _has_cuda(name):
        raise BackendUnavailable("cuda", f"it has no kernel for {name}", WITHOUT_KERNEL)
    return reference if chosen == "reference" else triton if chosen == "triton" else operator


def _has_cuda(name: str) -> bool:
    operator = _IMPLEMENTATIONS[name][0].name()
    return name not in ON_TRITON and torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CUDA")


def takes(name: str, *arguments: Any) -> bool:
    """Whether the backend in force takes a call of an op; one asked for by name does so with its own kernels alone.

    Where Triton answers for "auto" on CUDA, False for what the slow reference would have to do.
    """
    chosen = active_backend()
    if chosen == "triton" or (chosen == "auto" and name in ON_TRITON and arguments[0].device.type == "cuda"):
        return beyond_triton(name, arguments) is None
    return chosen != "cuda" or _has_cuda(name)


def relu_pack(
    x: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    lo: float = 0.0,
    hi: float = math.inf,
    pack: bool = True,
) -> tuple[Tensor, Tensor]:
    """y = min(max(x + bias + residual, lo), hi) and the packed bits of its derivative.

    Args:
        x: (N, C, *S), or 1-D or 2-D; float32, float64, float16 or bfloat16.
        bias: (C,) of x's dtype.
        residual: x's shape and dtype, any strides.
        lo, hi: ReLU is 0, inf; ReLU6 is 0, 6.
        pack: whether to return the bits.

    Returns:
        y in x's shape, dtype and dense order, and the mask, uint8 (4*ceil(numel/32),): bit i & 7 of byte i >> 3 is
        1 where lo < z < hi for element i of the memory order. Without `pack` the mask is empty, (0,).
    """
    return _implementation("relu_pack", x)(x, bias, residual, lo, hi, pack)


def relu_pack_(
    x: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    lo: float = 0.0,
    hi: float = math.inf,
    pack: bool = True,
) -> Tensor:
    """As `relu_pack`, y written into x, which must be dense; returns the mask."""
    return _implementation("relu_pack_", x)(x, bias, residual, lo, hi, pack)


def gate(
    g: Tensor, mask: Tensor | None, skip: Tensor | None = None, mode: int = 1, period: int | None = None
) -> Tensor:
    """s = g + skip where the mode's conditions hold, else exactly 0.

    Args:
        g: (R*N, C, *S), class-major; float32, float64, float16 or bfloat16.
        mask: uint8 bits of `relu_pack` for `period` elements; may be None for modes 0 and 2.
        skip: g's shape and dtype, any strides.
        mode: 0 none, 1 gradient (bit set), 2 deconvnet (s > 0), 3 guided backpropagation (both).
        period: number of elements the mask covers, a divisor of g's element count; default all of them.

    Returns:
        The result in g's shape, dtype and dense order.
    """
    return _implementation("gate", g)(g, mask, skip, mode, g.numel() if period is None else period)


def gate_(g: Tensor, mask: Tensor | None, skip: Tensor | None = None, mode: int = 1, period: int | None = None) -> None:
    """As `gate`, written into g, which must be dense."""
    _implementation("gate_", g)(g, mask, skip, mode, g.numel() if period is None else period)


def max_pool_pack(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
    relu: bool = False,
    pack: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Max-pool x, or relu(x), and keep the winning tap of each window in 2, 4 or 8 bits.

    Args:
        x: (N, C, *S) with one to three spatial sizes; float32, float64, float16 or bfloat16.
        kernel, stride, padding, dilation: one size per spatial dimension; at most 256 taps.
        ceil_mode: as in torch.nn.MaxPool2d.
        relu: pool relu(x), without storing it.
        pack: whether to return winner and mask.

    Returns:
        y (N, C, *out) in x's dense order; winner, uint8: the tap's row-major offset in the kernel, fields of 2 bits up
        to 4 taps, 4 bits up to 16, else 8, in y's memory order; mask, uint8: bits 1[y > 0], empty unless `relu`.
    """
    return _implementation("max_pool_pack", x)(
        x, list(kernel), list(stride), list(padding), list(dilation), ceil_mode, relu, pack
    )


def max_pool_scatter(
    g: Tensor,
    winner: Tensor,
    mask: Tensor | None,
    input_spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    mode: int = 0,
    period: int | None = None,
) -> Tensor:
    """The reverse of `max_pool_pack`: each window's g goes to its winner; overlapping windows add up.

    Args:
        g: (R*N, C, *out), class-major, in the dense order that y had.
        winner, mask: of `max_pool_pack` for `period` elements; mask may be None for modes 0 and 2.
        input_spatial: the spatial sizes of the pool's input.
        kernel, stride, padding, dilation: as given to `max_pool_pack`.
        mode: 0 plain pool; 1, 2 or 3 a pool fused with the ReLU before it, gated as in `gate`.
        period: number of elements winner and mask cover, a divisor of g's element count; default all of them.

    Returns:
        (R*N, C, *input_spatial) in g's dtype and dense order.
    """
    return _implementation("max_pool_scatter", g)(
        g,
        winner,
        mask,
        list(input_spatial),
        list(kernel),
        list(stride),
        list(padding),
        list(dilation),
        mode,
        g.numel() if period is None else period,
    )


def soft_gate_pack(
    z: Tensor,
    d: Tensor | None = None,
    bias: Tensor | None = None,
    d_bias: Tensor | None = None,
    residual: Tensor | None = None,
    factors: Sequence[float] = (1.0, 0.0),
    branches: Sequence[int] = (0,),
    epsilon: float = 1e-6,
    lo: float = -math.inf,
    hi: float = math.inf,
    numerator: int = 0,
    quantise: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """v = min(max(y, lo), hi) of y = z + bias + residual, and q = n / s(D) for D = f (z + bias) + f' (d + d_bias).

    Args:
        z: (N, C, *S), or 1-D or 2-D; float32, float64, float16 or bfloat16.
        d: z's shape and dtype, any strides; None: D is f (z + bias).
        bias, d_bias: (C,) of z's dtype.
        residual: z's shape and dtype, any strides.
        factors: f, f' of each gate, two numbers for each.
        branches: one number for each of one or two gates: 0 all, 1 where y > 0, 2 where y < 0.
        epsilon: ε of the stabiliser, not negative.
        lo, hi: ReLU is 0, inf; -inf, inf leaves y as it is.
        numerator: 0: n = v; 1: n = 1; 2: n = 1 where v is not 0.
        quantise: whether gates are bytes; they must lie in [0, 1].

    Returns:
        v and two gates in z's shape and dense order, of z's dtype (gates uint8 if quantised); the second gate is empty,
        (0,), where one was asked for.
    """
    return _implementation("soft_gate_pack", z)(
        z, d, bias, d_bias, residual, list(factors), list(branches), epsilon, lo, hi, numerator, quantise
    )


def soft_gate_pack_(
    z: Tensor,
    d: Tensor | None = None,
    bias: Tensor | None = None,
    d_bias: Tensor | None = None,
    residual: Tensor | None = None,
    factors: Sequence[float] = (1.0, 0.0),
    branches: Sequence[int] = (0,),
    epsilon: float = 1e-6,
    lo: float = -math.inf,
    hi: float = math.inf,
    numerator: int = 0,
    quantise: bool = False,
    out: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """As `soft_gate_pack`, v written into z, which must be dense; returns the gates, one or two.

    Args:
        out: tensors for the gates, in z's shape and dense order; they then say whether gates are bytes.
    """
    # A wrong number of branches is for the op to refuse.
    count = 2 if len(branches) > 1 else 1
    if out is None:
        dtype = torch.uint8 if quantise else z.dtype
        out = tuple(torch.empty_like(z, dtype=dtype) for _ in range(count))
    if len(out) != count:
        raise RuntimeError(f"out must hold a tensor for each of {count} gate(s), got {len(out)}")
    second = out[1] if count == 2 else None
    numbers = (list(factors), list(branches), epsilon, lo, hi, numerator)
    _implementation("soft_gate_pack_", z)(z, out[0], second, d, bias, d_bias, residual, *numbers)
    return tuple(out)


def soft_gate(g: Tensor, q: Tensor, skip: Tensor | None = None) -> Tensor:
    """(g + skip) q, exactly 0 where q is 0.

    Args:
        g: (R*N, C, *S), class-major; float32, float64, float16 or bfloat16.
        q: (N, C, *S), a gate of `soft_gate_pack`: g's dtype, or uint8 for q / 255; any strides.
        skip: g's shape and dtype, any strides.

    Returns:
        The result in g's shape, dtype and dense order.
    """
    return _implementation("soft_gate", g)(g, q, skip)


def soft_gate_(g: Tensor, q: Tensor, skip: Tensor | None = None) -> None:
    """As `soft_gate`, written into g, which must be dense."""
    _implementation("soft_gate_", g)(g, q, skip)


def write_coalitions_(out: Tensor, x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor) -> None:
    """Row m of out: x[row, e] where ranks[order, labels[e]] < below, else background[base, e].

    `(row, base, order, below) = jobs[m]`. All tensors are contiguous; out shares memory with none of the others.

    Args:
        out: (M, d), written in full; x's dtype, or float16 or bfloat16 where x is float32.
        x: (N, d), the rows that are explained, their elements in any order; float32, float64, float16 or bfloat16.
        background: (B, d) of x's dtype, in the same order.
        labels: (d,) int32, the player of each element, between 0 and n - 1.
        ranks: (P, n) int32, the position of each player in an order; or 0 and 1 for present and absent players, and
            `below` 1.
        jobs: (M, 4) int32: row below N, base below B, order below P, and `below`.

    Raises:
        RuntimeError: a shape, dtype, device or layout is wrong; on the CPU also where an index is out of range, which
            kernels on a GPU do not look at, for speed: there it reads what is not there.
    """
    _implementation("write_coalitions_", x)(out, x, background, labels, ranks, jobs)


def mlp_chains(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    antithetic: bool = True,
    allow_tf32: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Marginals of n players along permutation chains of a multilayer perceptron with ReLU between its layers.

    Kernels give a pair the same bits whatever else is in the call, the C++ one on any number of threads; x, background
    and activations must be finite. The compiled kernels take every call, on CUDA too. Triton's is for float32 and
    networks with a hidden layer and at most 256 units in each layer behind the first; where a device has no other
    kernel, the reference answers the other calls.

    Args:
        x: (N, d); float32 or float64.
        background: (B, d) of x's dtype, B at least 1.
        cycle: (N, G), int32: the row of background that pair g of row r uses.
        permutations: (N, G, n), int32: the order of players in which pair g of row r goes from background to x.
        members: (d,), int32: all features, sorted by player.
        starts: (n + 1,), int32: player i owns members[starts[i] : starts[i + 1]], at least one feature.
        weights: one to six of x's dtype, (H_1, d), (H_2, H_1), ..., (K, H): the network's layers.
        biases: (H_1,), (H_2,), ..., (K,) of x's dtype.
        antithetic: whether a pair also has the chain that takes players away from x in the same order.
        allow_tf32: products behind the first layer may use TF32 on devices that have it (CUDA, from Ampere on; float32
            only); elsewhere they do not. The first layer, f(x) and f(background) never do: marginals still sum to
            f(x) - f(background). CUDA C++ keeps float32 where a layer, or its rest beyond multiples of 64, has up to 32
            outputs.

    Returns:
        pairs (N, G, n, K), the mean of a player's two marginals, or the only one; f(x) (N, K); f(background) (B, K).

    Raises:
        RuntimeError: a shape, dtype or device is wrong; on the CPU also where an index is out of range or missing,
            which kernels on a GPU do not look at, for speed: there it reads and writes what is not there.
    """
    return _implementation("mlp_chains", x)(
        x, background, cycle, permutations, members, starts, list(weights), list(biases), antithetic, allow_tf32
    )


def mlp_outer_sums(high: Tensor, low: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """A multilayer perceptron behind its first layer, at all sums of two tables of the first layer's pre-activations.

    Kernels give a sum the same bits whatever else is in the call, the C++ one on any number of threads; no sum is
    written out. On CUDA tensors there is Triton's kernel, for float32 and at most 256 units in each of the layers; else
    the reference answers.

    Args:
        high: (M, P, H); float32 or float64.
        low: (M, Q, H) of high's dtype.
        weights: one to five of high's dtype, (H_2, H), (H_3, H_2), ..., (K, ..): the layers behind the first, a ReLU
            before each.
        biases: (H_2,), (H_3,), ..., (K,) of high's dtype.

    Returns:
        (M, P, Q, K): f behind the first layer of high[m, p] + low[m, q].

    Raises:
        RuntimeError: a shape, dtype or device is wrong.
    """
    return _implementation("mlp_outer_sums", high)(high, low, list(weights), list(biases))


def draw_orders(rows: Tensor, seed: int, stream: int, first: int, count: int, n: int) -> Tensor:
    """Random orders of 0 .. n - 1: the same for a row and a unit whatever else is drawn, and on every device.

    On CUDA tensors the reference answers.

    Args:
        rows: (R,) int64 numbers of rows, between 0 and 2**32 - 1.
        seed: any int; its lower 64 bits are the key.
        stream: what the orders are for, between 0 and 2**32 - 1; orders of different streams are independent.
        first, count: units first .. first + count - 1 of each row, none of them beyond 2**32 - 1.
        n: below 2**31.

    Returns:
        (R, count, n) int32.
    """
    # The key as the 64 signed bits that a schema's int has.
    key = (int(seed) + (1 << 63)) % (1 << 64) - (1 << 63)
    return _implementation("draw_orders", rows)(rows, key, stream, first, count, n)


def accumulate_moments_(count: Tensor, mean: Tensor, m2: Tensor, rows: Tensor, units: Tensor) -> None:
    """Adds units to the count, mean and sum of squared deviations of some rows, in the order of dimension 1.

    On CUDA tensors the reference answers. Bits do not depend on the number of threads, nor on how the units of a row
    are spread over calls.

    Args:
        count: (N,) int64, contiguous: units that each row has.
        mean: (N, n, K) float64, contiguous.
        m2: (N, n, K) float64, contiguous: sums of squared deviations from the mean.
        rows: (R,) int64, distinct rows of count, mean and m2.
        units: (R, G, n, K), float32 or float64.
    """
    _implementation("accumulate_moments_", units)(count, mean, m2, rows, units)
