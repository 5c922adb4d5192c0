"""The rule that a call follows under DeepLIFT, by its operation.

A rule returns a tensor like the call's result through which signals go back to the operands: its derivative with
respect to them is the multipliers. Every rule conserves: over the operands, multiplier times difference sums to the
difference of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from reluxfast.graph import Node
from reluxfast.graph.spelling import arguments
from reluxfast.relevance.deep_lift.composed import COMPOSED
from reluxfast.relevance.deep_lift.operation import Operation
from reluxfast.relevance.deep_lift.pair import derivative, multiplier
from reluxfast.relevance.lrp.kinds import short_name

Rule = Callable[[Operation], torch.Tensor | tuple[torch.Tensor, ...]]


def elementwise(op: Operation) -> torch.Tensor:
    """Rescale: Δy/Δz for each element, in float64, as close values leave few digits to their difference."""
    ((name, leaf),) = op.leaves.items()
    value, reference = ({n: _wide(v) for n, v in operands.items()} for operands in (op.value, op.reference))
    slope = derivative(lambda v: op.run({**value, name: v}), value[name])
    dy, dz = op.run(value) - op.run(reference), value[name] - reference[name]
    return multiplier(dy, dz, slope, op.eps).to(leaf.dtype) * leaf


def _wide(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def midpoint(op: Operation) -> Any:
    """The derivative half way: exact for what is a product of two operands, or a polynomial of degree 2."""
    return op.run(op.leaves)


def maximum(op: Operation) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Of maxima: with c the greater of o and o', c - o' goes to what wins at x, o - c to what wins at the reference."""
    whole = op.run({})
    y = whole if isinstance(whole, torch.Tensor) else whole[0]
    names = list(op.leaves)
    reverse = _MaximumReverse(op, names)
    made = _Through.apply(reverse, torch.zeros_like(y), *op.leaves.values())
    return made if isinstance(whole, torch.Tensor) else (made,)


class _MaximumReverse:
    def __init__(self, op: Operation, names: list[str]):
        self.op, self.names = op, names
        self.better = torch.minimum if short_name(op.node) in _MINIMA else torch.maximum

    def __call__(self, g: torch.Tensor) -> list[torch.Tensor]:
        op = self.op
        at_x, y = self._winners(op.value)
        at_reference, reference = self._winners(
            {n: op.reference[n].expand_as(v) for n, v in op.value.items() if n in self.names}
        )
        best = self.better(y, reference)
        found = zip(self.names, at_x(g * (best - reference)), at_reference(g * (y - best)), at_x(g), strict=True)
        signals = []
        for name, won, lost, plain in found:
            signals.append(multiplier(won + lost, op.value[name] - op.reference[name], plain, op.eps))
        return signals

    def _winners(self, values: dict[str, Any]) -> tuple[Callable, torch.Tensor]:
        """g -> what of it goes to each operand, and the result."""
        with torch.enable_grad():
            leaves = {n: values[n].detach().requires_grad_() for n in self.names}
            y = self.op.run(leaves)
        y = y if isinstance(y, torch.Tensor) else y[0]
        return lambda g: torch.autograd.grad(y, list(leaves.values()), g, retain_graph=True), y.detach()


class _Through(torch.autograd.Function):
    """A value whose signal goes back by a function of one's own."""

    @staticmethod
    def forward(ctx, reverse, y, *leaves):
        ctx.reverse = reverse
        return y

    @staticmethod
    def backward(ctx, g):
        return None, None, *ctx.reverse(g)


_MINIMA = set("min amin minimum fmin".split())
_MAXIMA = _MINIMA | set(
    "max amax maximum fmax max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d".split()
)
_ELEMENTWISE = set(
    "sigmoid tanh elu selu celu leaky_relu prelu _prelu_kernel gelu silu mish softplus log_sigmoid hardswish "
    "hardsigmoid hardtanh hardshrink softshrink threshold clamp clamp_min clamp_max clip relu relu6 rrelu abs exp exp2 "
    "expm1 log log2 log10 log1p sqrt rsqrt reciprocal square pow sin cos tan asin acos atan sinh cosh asinh acosh "
    "atanh erf erfc erfinv logit special_erf special_expit tanhshrink softsign float_power".split()
)
_SECOND_DEGREE = set(
    "mul multiply matmul mm bmm linear addmm addmv addbmm baddbmm mv dot outer conv1d conv2d conv3d convolution "
    "conv_transpose1d conv_transpose2d conv_transpose3d where masked_fill index gather take take_along_dim index_put "
    "index_add index_select scatter scatter_add lerp addcmul var var_mean batch_norm".split()
)


def rule_for(node: Node, same_shape: bool) -> Rule | None:
    """The rule of a call; None if there is none.

    Args:
        node: the call.
        same_shape: whether its one operand that signals go back to has the shape of its result.
    """
    if getattr(node.target, "_schema", None) is None:
        return None
    short, given = short_name(node), arguments(node)
    one = len(node.inputs) == 1
    if short == "einsum":
        return midpoint if len(given["tensors"]) <= 2 else None
    if short in COMPOSED:
        rounds, norm = given.get("rounding_mode"), given.get("ord", given.get("p"))
        several = short in ("div", "divide", "true_divide", "scaled_dot_product_attention")
        return COMPOSED[short] if not rounds and norm in (None, 1, 2) and (one or several) else None
    if short in _MAXIMA:
        return maximum
    if short in _ELEMENTWISE:
        return elementwise if one and same_shape else None
    return midpoint if short in _SECOND_DEGREE else None
