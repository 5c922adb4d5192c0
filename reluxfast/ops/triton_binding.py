"""The Triton kernels as implementations of the operators: check and allocate as the fakes do, then launch.

Importing this imports triton. What the checks find depends on shapes, strides, dtypes, devices and numbers alone, so it
is remembered: a call whose like was seen before only looks it up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reluxfast.kernels import gate as gate_kernel
from reluxfast.kernels import max_pool as max_pool_kernels
from reluxfast.kernels import mlp_chains as mlp_chains_kernels
from reluxfast.kernels import mlp_outer_sums as mlp_outer_sums_kernel
from reluxfast.kernels import relu_pack as relu_pack_kernel
from reluxfast.kernels import soft_gate as soft_gate_kernel
from reluxfast.kernels import soft_gate_pack as soft_gate_pack_kernel
from reluxfast.kernels import write_coalitions as write_coalitions_kernel
from reluxfast.kernels.max_pool import Pool
from reluxfast.kernels.mlp_layers import Tiling
from reluxfast.ops._register import FAKES
from reluxfast.ops.layout import is_channels_last, memory_order

_MOST_PLANS = 4096


@dataclass(frozen=True)
class _Plan:
    """What is known of a call before its data.

    Attributes:
        results: (shape, strides, dtype) of each.
        channels_last: the dense order of all elements.
        ordered: of each tensor argument, whether its memory has that order.
        geometry: what the op's kernel needs to know of shapes.
    """

    results: tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]
    channels_last: bool
    ordered: tuple[bool, ...]
    geometry: Any

    def empty(self, device: torch.device) -> list[Tensor]:
        return [torch.empty_strided(size, strides, dtype=dtype, device=device) for size, strides, dtype in self.results]

    def in_order(self, x: Tensor | None, argument: int) -> Tensor | None:
        """The tensor argument of that number, its elements in the plan's order."""
        # A slice's elements may be seen as a 1-D tensor that still has gaps, and a bias may be one.
        return x if self.ordered[argument] else memory_order(x, self.channels_last and x.dim() >= 3).contiguous()


_plans: dict[Hashable, _Plan] = {}


def _layout(x: Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.stride(), x.dtype, x.device)


def _is_ordered(x: Tensor | None, channels_last: bool) -> bool:
    return x is None or (x.movedim(1, -1) if channels_last and x.dim() >= 3 else x).is_contiguous()


def _plan(
    name: str,
    tensors: tuple[Tensor | None, ...],
    numbers: Hashable,
    arguments: tuple[Any, ...],
    geometry: Callable[[bool, Sequence[Tensor]], Any],
) -> _Plan:
    """The plan of a call of the op `name`, whose checks and results depend on `tensors`' layouts and on `numbers`.

    `geometry` takes whether the order is channels-last, and the results.
    """
    key = (name, numbers, *map(_layout, tensors))
    plan = _plans.get(key)
    if plan is None:
        results = FAKES[name](*arguments)
        results = () if results is None else (results,) if isinstance(results, Tensor) else results
        last = is_channels_last(tensors[0])
        plan = _Plan(
            tuple((r.shape, r.stride(), r.dtype) for r in results),
            last,
            tuple(_is_ordered(x, last) for x in tensors),
            geometry(last, results),
        )
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[key] = plan
    return plan


def _words(packed: Tensor | None) -> Tensor | None:
    """Packed bytes that can be read as 32-bit words."""
    return packed if packed is None or packed.data_ptr() % 4 == 0 else packed.clone()


def _run(x: Tensor, last: bool) -> int:
    """Elements that follow each other in one channel."""
    return 1 if last or x.dim() < 2 else max(1, x[0, 0].numel() if x.numel() else 1)


def _relu_pack(
    plan: _Plan, x: Tensor, bias: Tensor | None, residual: Tensor | None, y: Tensor, mask: Tensor, lo: float, hi: float
) -> None:
    if y.numel() == 0:
        return
    source, channels, other = plan.in_order(x, 0), plan.in_order(bias, 1), plan.in_order(residual, 2)
    relu_pack_kernel.relu_pack(source, channels, other, y, mask if mask.numel() else None, lo, hi, plan.geometry)


def relu_pack(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, lo: float, hi: float, pack: bool
) -> tuple[Tensor, Tensor]:
    """reluxfast::relu_pack."""
    arguments = (x, bias, residual, lo, hi, pack)
    plan = _plan("relu_pack", (x, bias, residual), pack, arguments, lambda last, _: _run(x, last))
    y, mask = plan.empty(x.device)
    _relu_pack(plan, x, bias, residual, y, mask, lo, hi)
    return y, mask


def relu_pack_(x: Tensor, bias: Tensor | None, residual: Tensor | None, lo: float, hi: float, pack: bool) -> Tensor:
    """reluxfast::relu_pack_."""
    arguments = (x, bias, residual, lo, hi, pack)
    plan = _plan("relu_pack_", (x, bias, residual), pack, arguments, lambda last, _: _run(x, last))
    (mask,) = plan.empty(x.device)
    _relu_pack(plan, x, bias, residual, x, mask, lo, hi)
    return mask


def _gate(
    plan: _Plan, g: Tensor, mask: Tensor | None, skip: Tensor | None, out: Tensor, mode: int, period: int
) -> None:
    if out.numel() == 0:
        return
    source, other = plan.in_order(g, 0), plan.in_order(skip, 2)
    gate_kernel.gate(source, other, _words(mask if mode & 1 else None), out, period, mode)


def gate(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> Tensor:
    """reluxfast::gate."""
    plan = _plan("gate", (g, mask, skip), (mode, period), (g, mask, skip, mode, period), lambda *_: None)
    (out,) = plan.empty(g.device)
    _gate(plan, g, mask, skip, out, mode, period)
    return out


def gate_(g: Tensor, mask: Tensor | None, skip: Tensor | None, mode: int, period: int) -> None:
    """reluxfast::gate_."""
    plan = _plan("gate_", (g, mask, skip), (mode, period), (g, mask, skip, mode, period), lambda *_: None)
    _gate(plan, g, mask, skip, g, mode, period)


def max_pool_pack(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    relu: bool,
    pack: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """reluxfast::max_pool_pack."""
    window = (tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))

    def geometry(last: bool, results: Sequence[Tensor]) -> Pool:
        return Pool.over(x.shape[2:], results[0].shape[2:], *window, x.shape[1] if last else 1, x.dtype)

    switches = (ceil_mode, relu, pack)
    plan = _plan("max_pool_pack", (x,), (window, switches), (x, *window, *switches), geometry)
    y, winner, mask = plan.empty(x.device)
    if y.numel():
        source = plan.in_order(x, 0)
        max_pool_kernels.max_pool_pack(
            source, y, winner if pack else None, mask if pack and relu else None, plan.geometry, relu
        )
    return y, winner, mask


def max_pool_scatter(
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
    """reluxfast::max_pool_scatter."""
    size = tuple(input_spatial)
    window = (tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))

    def geometry(last: bool, _: Sequence[Tensor]) -> Pool:
        return Pool.over(size, g.shape[2:], *window, g.shape[1] if last else 1, g.dtype)

    numbers = (size, window, mode, period)
    arguments = (g, winner, mask, size, *window, mode, period)
    plan = _plan("max_pool_scatter", (g, winner, mask), numbers, arguments, geometry)
    (out,) = plan.empty(g.device)
    if g.numel() == 0:
        # No window at all: where there are input positions, nothing reaches them.
        return out.zero_()
    if out.numel():
        source = plan.in_order(g, 0)
        bits = _words(mask if mode & 1 else None)
        max_pool_kernels.max_pool_scatter(source, _words(winner), bits, out, plan.geometry, mode, period)
    return out


def _soft_gate_pack_plan(
    name: str,
    tensors: tuple[Tensor | None, ...],
    gates: tuple[Tensor | None, ...],
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    *others: int,
) -> _Plan:
    """The plan for `tensors`, which are z, d, bias, d_bias and residual, and for the gates of the in-place form."""
    z, *summands = tensors
    numbers = (len(factors), tuple(branches), epsilon >= 0, *others)
    arguments = (z, *gates, *summands, factors, branches, epsilon, lo, hi, *others)
    return _plan(name, (*tensors, *gates), numbers, arguments, lambda last, _: _run(z, last))


def _soft_gate_pack(
    plan: _Plan,
    tensors: tuple[Tensor | None, ...],
    v: Tensor | None,
    gates: Sequence[Tensor | None],
    factors: Sequence[float],
    branches: Sequence[int],
    epsilon: float,
    lo: float,
    hi: float,
    numerator: int,
) -> None:
    if gates[0].numel():
        sources = (plan.in_order(x, argument) for argument, x in enumerate(tensors))
        gates = gates[: len(branches)]
        soft_gate_pack_kernel.soft_gate_pack(
            *sources, v, gates, factors, branches, epsilon, lo, hi, numerator, plan.geometry
        )


def soft_gate_pack(
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
    """reluxfast::soft_gate_pack."""
    tensors, numbers = (z, d, bias, d_bias, residual), (factors, branches, epsilon, lo, hi, numerator)
    plan = _soft_gate_pack_plan("soft_gate_pack", tensors, (), *numbers, quantise)
    v, *gates = plan.empty(z.device)
    _soft_gate_pack(plan, tensors, v, gates, *numbers)
    return v, *gates


def soft_gate_pack_(
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
    """reluxfast::soft_gate_pack_."""
    tensors, numbers = (z, d, bias, d_bias, residual), (factors, branches, epsilon, lo, hi, numerator)
    gates = (q, second)
    plan = _soft_gate_pack_plan("soft_gate_pack_", tensors, gates, *numbers)
    # z is v already where nothing is added and nothing cut.
    is_v = bias is None and residual is None and lo == -math.inf and hi == math.inf
    _soft_gate_pack(plan, tensors, None if is_v else z, gates, *numbers)


def _soft_gate(plan: _Plan, g: Tensor, q: Tensor, skip: Tensor | None, out: Tensor) -> None:
    if out.numel():
        soft_gate_kernel.soft_gate(plan.in_order(g, 0), plan.in_order(q, 1), plan.in_order(skip, 2), out)


def soft_gate(g: Tensor, q: Tensor, skip: Tensor | None) -> Tensor:
    """reluxfast::soft_gate."""
    plan = _plan("soft_gate", (g, q, skip), None, (g, q, skip), lambda *_: None)
    (out,) = plan.empty(g.device)
    _soft_gate(plan, g, q, skip, out)
    return out


def soft_gate_(g: Tensor, q: Tensor, skip: Tensor | None) -> None:
    """reluxfast::soft_gate_."""
    plan = _plan("soft_gate_", (g, q, skip), None, (g, q, skip), lambda *_: None)
    _soft_gate(plan, g, q, skip, g)


def write_coalitions_(out: Tensor, x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor) -> None:
    """reluxfast::write_coalitions_."""
    tensors = (out, x, background, labels, ranks, jobs)
    _plan("write_coalitions_", tensors, None, tensors, lambda *_: None)
    if out.numel():
        write_coalitions_kernel.write_coalitions(*tensors)


def mlp_chains(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    antithetic: bool,
    allow_tf32: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """reluxfast::mlp_chains, within its limits."""
    index = (cycle, permutations, members, starts)
    tensors, layers = (x, background, *index), (weights, biases)
    plan = _plan(
        "mlp_chains",
        (*tensors, *weights, *biases),
        (len(weights), antithetic),
        (*tensors, *layers, antithetic, allow_tf32),
        lambda *_: Tiling.of([weight.shape[0] for weight in weights]),
    )
    results = plan.empty(x.device)
    index = [values.contiguous() for values in index]
    mlp_chains_kernels.mlp_chains(x, background, *index, *layers, results, antithetic, allow_tf32, plan.geometry)
    return tuple(results)


def mlp_outer_sums(high: Tensor, low: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """reluxfast::mlp_outer_sums, within its limits."""
    layers = (weights, biases)
    plan = _plan(
        "mlp_outer_sums",
        (high, low, *weights, *biases),
        (len(weights),),
        (high, low, *layers),
        lambda *_: Tiling.of([high.shape[2], *(weight.shape[0] for weight in weights)]),
    )
    (y,) = plan.empty(high.device)
    mlp_outer_sums_kernel.mlp_outer_sums(high.contiguous(), low.contiguous(), *layers, y, plan.geometry)
    return y
