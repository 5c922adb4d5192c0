"""Convolution and matrix products as the dispatcher sees them: multiply-adds counted, whoever asks for them.

A convolution costs one multiply-add for each output element and each weight that reaches it (zero padding included);
its input-gradient and its weight-gradient cost the same each, and so does the transposed convolution from the other
side. `a @ b` costs `rows * inner * columns`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Product:
    """One call: its operation, the shape of its weight (of the second operand of a matrix product), and its FLOP."""

    op: str
    weight: tuple[int, ...]
    flop: int


class CountedWork(TorchDispatchMode):
    """Counts inside its context, backward passes included; `products` lists the calls in order.

    RuntimeError for an operation that looks like a product and is none of those known: nothing goes uncounted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    @property
    def flop(self) -> int:
        """Of all calls: two for each multiply-add."""
        return sum(product.flop for product in self.products)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        count = _COUNTS.get(name)
        if count is not None:
            weight, multiply_adds = count(args, result)
            self.products.append(Product(name, tuple(weight.shape), 2 * multiply_adds))
        elif name not in _LAYOUTS and _SUSPECT.search(name):
            raise RuntimeError(f"{name}: this operation looks like a product, and how to count it is not known")
        return result


Counted = tuple[Tensor, int]


def _convolution(args: Sequence[Any], result: Tensor) -> Counted:
    x, weight, transposed = args[0], args[1], args[6]
    return weight, (x if transposed else result).numel() * math.prod(weight.shape[1:])


def _convolution_backward(args: Sequence[Any], result: Any) -> Counted:
    g, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return weight, sum(wanted[:2]) * (x if transposed else g).numel() * math.prod(weight.shape[1:])


def _plain_convolution(args: Sequence[Any], result: Tensor) -> Counted:
    return args[1], result.numel() * math.prod(args[1].shape[1:])


def _transposed_convolution(args: Sequence[Any], result: Tensor) -> Counted:
    return args[1], args[0].numel() * math.prod(args[1].shape[1:])


def _product(first: int) -> Callable[[Sequence[Any], Tensor], Counted]:
    """`a @ b` whose `a` is argument `first`."""

    def count(args: Sequence[Any], result: Tensor) -> Counted:
        return args[first + 1], result.numel() * args[first].shape[-1]

    return count


_COUNTS: dict[str, Callable[[Sequence[Any], Any], Counted]] = {
    "aten::convolution": _convolution,
    "aten::convolution_backward": _convolution_backward,
    **{f"aten::conv{n}d": _plain_convolution for n in (1, 2, 3)},
    **{f"aten::conv_transpose{n}": _transposed_convolution for n in ("1d", "2d", "3d")},
    "mkldnn::_convolution_pointwise": _plain_convolution,
    "mkldnn::_linear_pointwise": _product(0),
    "aten::linear": _product(0),
    "aten::mm": _product(0),
    "aten::bmm": _product(0),
    "aten::matmul": _product(0),
    "aten::addmm": _product(1),
    "aten::baddbmm": _product(1),
}
_SUSPECT = re.compile("conv|mm|mv|matmul|einsum|dot|^(?!.*upsample).*linear")
# They change where weights lie, once per program.
_LAYOUTS = {"mkldnn::_reorder_convolution_weight", "mkldnn::_reorder_linear_weight"}
