"""Inputs on which no decision of a network is close: rows whose pre-activations keep away from every kink.

Float32 moves a pre-activation by about 1e-6 of its layer's scale. Where `z` is nearer to a kink than that, a ReLU may
flip and the two precisions explain two different linear maps. Rows are therefore drawn until one keeps a margin (1e-4
of the layer's largest value unless the construct says otherwise), so that float32 runs under the masks of float64.
"""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.oracles.gradient import select
from tests.oracles.rules import rule_kit
from tests.zoo import CONSTRUCTS, Construct

_AT_ZERO = {
    "relu",
    "relu_",
    "leaky_relu",
    "leaky_relu_",
    "_prelu_kernel",
    "prelu",
    "elu",
    "elu_",
    "abs",
    "celu",
    "celu_",
}
_HARD = {"hardswish": (-3.0, 3.0), "hardswish_": (-3.0, 3.0), "hardsigmoid": (-3.0, 3.0)}


class Margins(TorchDispatchMode):
    """Smallest relative distance of any decision to a tie, over all operations run inside.

    An exact tie counts as safe: in float64 it comes only from values that are exactly equal in every precision
    (zeros made by an earlier ReLU, copies of one value).
    """

    def __init__(self) -> None:
        super().__init__()
        self.smallest = float("inf")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        for z, kink in self._kinks(name, args, kwargs):
            self._add((z - kink).abs(), z.abs().max())
        if name in ("maximum", "minimum"):
            self._add((args[0] - args[1]).abs(), args[0].abs().max())
        if name in ("amax", "max") and len(args) > 1 and not isinstance(args[1], Tensor):
            dims = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
            last = args[0].movedim(list(dims), list(range(-len(dims), 0))).flatten(-len(dims))
            self._windows(last)
        if "max_pool" in name and "backward" not in name:
            self._windows(_pool_windows(name, args))
        return func(*args, **kwargs)

    @staticmethod
    def _kinks(name: str, args, kwargs):
        if name in _AT_ZERO:
            return [(args[0], 0.0)]
        if name in _HARD:
            return [(args[0], k) for k in _HARD[name]]
        if name in ("clamp", "clamp_", "hardtanh", "hardtanh_", "clamp_min", "clamp_min_", "clamp_max"):
            bounds = [*args[1:3], *kwargs.values()]
            return [(args[0], float(b)) for b in bounds if b is not None and abs(float(b)) != float("inf")]
        if name in ("threshold", "threshold_", "gt", "lt") and not isinstance(args[1], Tensor):
            return [(args[0], float(args[1]))]
        return []

    def _add(self, distance: Tensor, scale: Tensor) -> None:
        distance = distance[distance > 0]
        if distance.numel() and float(scale) > 0:
            self.smallest = min(self.smallest, float(distance.min() / scale))

    def _windows(self, windows: Tensor) -> None:
        """Gap between the two largest entries along the last axis."""
        if windows.shape[-1] > 1:
            top = windows.topk(2, -1).values
            finite = top.isfinite().all(-1)
            values = windows[windows.isfinite()]
            self._add((top[..., 0] - top[..., 1])[finite], values.abs().max())


def _pool_windows(name: str, args) -> Tensor:
    """All entries that compete for each pooled value, `(..., taps)`, padded with -inf."""
    x = args[0]
    n = int(name[name.index("pool") + 4])
    if name.startswith("adaptive"):
        spans = [
            [range(i * s // o, -(-(i + 1) * s // o)) for i in range(o)]
            for s, o in zip(x.shape[-n:], args[1], strict=True)
        ]
    else:
        kernel, stride, padding, dilation, ceil_mode = _pool_arguments(args, n)
        out = torch.ops.aten.max_pool2d_with_indices if n == 2 else torch.ops.aten.max_pool3d_with_indices
        sizes = out(x, kernel, stride, padding, dilation, ceil_mode)[0].shape[-n:]
        spans = [
            [
                [q for q in (i * stride[d] - padding[d] + k * dilation[d] for k in range(kernel[d])) if 0 <= q < s]
                for i in range(sizes[d])
            ]
            for d, s in enumerate(x.shape[-n:])
        ]
    width = max(len(list(itertools.product(*window))) for window in itertools.product(*spans))
    gathered = []
    for window in itertools.product(*spans):
        index = torch.tensor([list(q) for q in itertools.product(*window)])
        taps = x[(..., *index.unbind(1))]
        gathered.append(torch.nn.functional.pad(taps, (0, width - taps.shape[-1]), value=float("-inf")))
    return torch.stack(gathered, -2)


def _pool_arguments(args, n: int):
    values = list(args[1:]) + [None] * (6 - len(args))
    kernel = list(values[0])
    stride = list(values[1]) if values[1] else kernel
    padding = list(values[2]) if values[2] is not None else [0]
    dilation = list(values[3]) if values[3] is not None else [1]
    expand = lambda v: v * n if len(v) == 1 else v  # noqa: E731
    return expand(kernel), expand(stride), expand(padding), expand(dilation), bool(values[4] or False)


def draw(construct: Construct, rows: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, ...]:
    """`rows` random rows of each input, without any margin."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
    return tuple(torch.randn(rows, *s, generator=generator).to(dtype) for s in construct.shapes)


@functools.cache
def _rows(name: str, rows: int, tries: int) -> tuple[Tensor, ...]:
    construct = CONSTRUCTS[name]
    model = construct.oracle(rule_kit("gradient"))
    found: list[tuple[Tensor, ...]] = []
    best = 0.0
    for seed in range(tries):
        row = draw(construct, 1, torch.float32, seed)
        with Margins() as margins:
            leaves = [x.double().requires_grad_() for x in row]
            select(model(*(leaf * 1.0 for leaf in leaves)), construct.target)
        best = max(best, margins.smallest)
        if margins.smallest >= construct.margin:
            found.append(row)
        if len(found) == rows:
            return tuple(torch.cat(columns) for columns in zip(*found, strict=True))
    raise AssertionError(f"{name}: no {rows} rows with margin {construct.margin} in {tries} tries, best {best:.2g}")


def inputs(construct: Construct, dtype: torch.dtype = torch.float32, rows: int = 2, tries: int = 300):
    """Rows with the construct's margin; float32 values, so that every precision gets the same input."""
    return tuple(x.to(dtype) for x in _rows(construct.name, rows, tries))
