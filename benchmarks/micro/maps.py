"""The ops between convolutions: ReLUs and max-pools with their bits, gates of gradients and of relevance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from reluxfast import ops
from reluxfast.benchmarks.micro.works import Call, Values, Work

POOLS = {"2x2/2": ([2, 2], [2, 2], [0, 0], [1, 1]), "3x3/2": ([3, 3], [2, 2], [1, 1], [1, 1])}
_EPSILON = 1e-6
_SHAPES = ((1, 64, 56, 56), (4, 64, 112, 112))
_TINY = ((2, 8, 9, 7),)
_aten = torch.ops.aten


def all_shapes(tiny: bool, dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Every op on activations of usual size."""
    if dtype != torch.float64:
        for shape in _TINY if tiny else _SHAPES:
            yield from works(shape, dtype, device)


def works(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Every op on channels-last tensors (N, C, H, W): the layout the engine uses."""
    yield from _relus(shape, dtype, device)
    yield from _gates(shape, dtype, device)
    yield from _soft_gates(shape, dtype, device)
    for name, pool in POOLS.items():
        kernel, _, padding, _ = pool
        if all(size + 2 * p >= k for size, p, k in zip(shape[2:], padding, kernel, strict=True)):
            yield from _pools(name, pool, shape, dtype, device)


class _Draw:
    """Draws tensors of one shape, dtype and device, channels-last."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device

    def _laid(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    def normal(self) -> Tensor:
        return self._laid(torch.randn(self.shape, device=self.device).to(self.dtype))

    def between(self, low: float, high: float) -> Tensor:
        return self._laid((torch.rand(self.shape, device=self.device) * (high - low) + low).to(self.dtype))

    def bytes(self) -> Tensor:
        return self._laid(torch.randint(256, self.shape, device=self.device, dtype=torch.uint8))

    def bias(self) -> Tensor:
        return torch.randn(self.shape[1], device=self.device).to(self.dtype)


def _relus(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    draw = _Draw(shape, dtype, device)

    def ours(x: Tensor, bias: Tensor, residual: Tensor | None = None) -> Call:
        reads = (x, bias) if residual is None else (x, bias, residual)
        return Call(lambda: ops.relu_pack(x, bias, residual), reads)

    def ours_in_place(x: Tensor, bias: Tensor, residual: Tensor | None = None) -> Call:
        reads = (x, bias) if residual is None else (x, bias, residual)
        return Call(lambda: (x, ops.relu_pack_(x, bias, residual)), reads, (x,))

    # Autograd keeps the result itself, and needs no bits.
    def plain(x: Tensor, bias: Tensor) -> Call:
        return Call(lambda: ((x + bias[:, None, None]).relu_(),))

    def plain_in_place(x: Tensor, bias: Tensor, residual: Tensor | None = None) -> Call:
        column = bias[:, None, None]
        if residual is None:
            return Call(lambda: (x.add_(column).relu_(),), changes=(x,))
        return Call(lambda: (x.add_(column).add_(residual).relu_(),), changes=(x,))

    def two() -> Values:
        return draw.normal(), draw.bias()

    def three() -> Values:
        return draw.normal(), draw.bias(), draw.normal()

    yield Work("relu_pack", "bias", shape, two, ours, plain)
    yield Work("relu_pack_", "bias", shape, two, ours_in_place, plain_in_place)
    yield Work("relu_pack_", "bias residual", shape, three, ours_in_place, plain_in_place)


def _gates(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    draw = _Draw(shape, dtype, device)

    def ours(mode: int, in_place: bool) -> Callable[..., Call]:
        def make(g: Tensor, z: Tensor, skip: Tensor | None = None) -> Call:
            mask = ops.relu_pack(z)[1] if mode & 1 else None
            reads = tuple(t for t in (g, mask, skip) if t is not None)
            if not in_place:
                return Call(lambda: (ops.gate(g, mask, skip, mode),), reads)

            def run() -> Values:
                ops.gate_(g, mask, skip, mode)
                return (g,)

            return Call(run, reads, (g,))

        return make

    def plain(mode: int, in_place: bool) -> Callable[..., Call]:
        def make(g: Tensor, z: Tensor, skip: Tensor | None = None) -> Call:
            y = z.relu()

            def run() -> Values:
                s = g if skip is None else g.add_(skip)
                if mode & 1:
                    s = _aten.threshold_backward(s, y, 0)
                return (s.relu_() if mode & 2 else s,)

            return Call(run, changes=(g,) if in_place else ())

        return make

    def drawn(skip: bool) -> Callable[[], Values]:
        return lambda: tuple(draw.normal() for _ in range(3 if skip else 2))

    for op, variant, mode, skip in (
        ("gate", "gradient", 1, False),
        ("gate_", "guided", 3, False),
        ("gate_", "guided skip", 3, True),
        ("gate_", "deconvnet", 2, False),
    ):
        in_place = op == "gate_"
        yield Work(op, variant, shape, drawn(skip), ours(mode, in_place), plain(mode, in_place))


def _soft_gates(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    draw = _Draw(shape, dtype, device)

    def pack(two: bool, bound: bool, quantise: bool) -> Callable[..., Call]:
        factors, branches = ((0.0, 1.0, 1.0, -1.0), (0, 0)) if two else ((0.0, 1.0), (0,))
        lo = 0.0 if bound else -math.inf

        def make(z: Tensor, d: Tensor) -> Call:
            out = tuple(torch.empty_like(z, dtype=torch.uint8 if quantise else z.dtype) for _ in branches)

            def run() -> Values:
                return z, *ops.soft_gate_pack_(z, d, factors=factors, branches=branches, lo=lo, out=out)

            # Without bounds z holds v already, and is only read.
            return Call(run, (z, d), (z, *out) if bound else out)

        return make

    def plain_pack(two: bool, bound: bool, quantise: bool) -> Callable[..., Call]:
        def make(z: Tensor, d: Tensor) -> Call:
            def run() -> Values:
                v = z.relu_() if bound else z
                gates = [v / _stabilised(d), v / _stabilised(z - d)] if two else [v / _stabilised(d)]
                if quantise:
                    gates = [q.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8) for q in gates]
                return v, *gates

            return Call(run, changes=(z,) if bound else ())

        return make

    # Denominators far from 0, where a quotient says how well it was computed.
    def apart() -> Values:
        return draw.between(-1, 1), draw.between(1.5, 2.5)

    for variant, two, bound, quantise in (
        ("", False, False, False),
        ("relu", False, True, False),
        ("relu bytes", False, True, True),
        ("two gates", True, False, False),
    ):
        made = (pack(two, bound, quantise), plain_pack(two, bound, quantise))
        yield Work("soft_gate_pack_", variant, shape, apart, *made)

    def gated(g: Tensor, q: Tensor, skip: Tensor | None = None) -> Call:
        def run() -> Values:
            ops.soft_gate_(g, q, skip)
            return (g,)

        return Call(run, (g, q) if skip is None else (g, q, skip), (g,))

    def plain_gated(g: Tensor, q: Tensor, skip: Tensor | None = None) -> Call:
        def run() -> Values:
            s = g if skip is None else g.add_(skip)
            return (s.mul_(q) if q.dtype == s.dtype else s.mul_(q.to(s.dtype).mul_(1 / 255)),)

        return Call(run, changes=(g,))

    def signal(*others: Callable[[], Tensor]) -> Callable[[], Values]:
        return lambda: (draw.normal(), *(other() for other in others))

    def numbers() -> Tensor:
        return draw.between(0.5, 1)

    # A sum or a factor 1 / 255, then a product: two roundings.
    for variant, drawn in (
        ("", signal(numbers)),
        ("skip", signal(numbers, draw.normal)),
        ("bytes", signal(draw.bytes)),
    ):
        yield Work("soft_gate_", variant, shape, drawn, gated, plain_gated, slack=(2.0, 4.0))


def _stabilised(d: Tensor) -> Tensor:
    return torch.where(d >= 0, d + _EPSILON, d - _EPSILON)


def _pools(name: str, pool: tuple, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    draw = _Draw(shape, dtype, device)
    kernel, stride, padding, dilation = pool

    def pack(x: Tensor) -> Call:
        return Call(lambda: ops.max_pool_pack(x, *pool, relu=True), (x,))

    def plain_pack(x: Tensor) -> Call:
        return Call(lambda: (F.max_pool2d(x.relu_(), *pool, return_indices=True)[0],), changes=(x,))

    def scatter(x: Tensor, like: Tensor) -> Call:
        y, winner, mask = ops.max_pool_pack(x, *pool, relu=True)
        g = _first(like, y)
        return Call(lambda: (ops.max_pool_scatter(g, winner, mask, x.shape[2:], *pool, mode=3),), (g, winner, mask))

    def plain_scatter(x: Tensor, like: Tensor) -> Call:
        a = x.relu()
        y, indices = F.max_pool2d(a, *pool, return_indices=True)
        g = _first(like, y)

        def run() -> Values:
            back = _aten.max_pool2d_with_indices_backward(g, a, kernel, stride, padding, dilation, False, indices)
            return (_aten.threshold_backward(back, a, 0).relu_(),)

        return Call(run)

    yield Work("max_pool_pack", name, shape, lambda: (draw.normal(),), pack, plain_pack)
    # Up to four windows add up.
    yield Work("max_pool_scatter", name, shape, lambda: (draw.normal(), draw.normal()), scatter, plain_scatter)


def _first(values: Tensor, like: Tensor) -> Tensor:
    """As many of the values as a smaller tensor has, in its shape and order."""
    return values[:, :, : like.shape[2], : like.shape[3]].contiguous(memory_format=torch.channels_last)
