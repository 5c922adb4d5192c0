"""The gradient family on a zoo model in float64: every method that asks for one reverse walk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.oracles.rules import rule_kit
from tests.zoo import Construct

Target = None | int | tuple[int, ...] | list | Tensor


def select(output: Tensor, target: Target) -> Tensor:
    """The explained output of each row, `(N,)`: `f_t(x)` for one target, or one target per row."""
    if target is None:
        return output.reshape(output.shape[0])
    if isinstance(target, int):
        return output[:, target]
    if isinstance(target, tuple):
        return output[(slice(None), *target)]
    rows = [output[n][tuple(t) if isinstance(t, (tuple, list)) else int(t)] for n, t in enumerate(target)]
    return torch.stack(rows)


def reverse(model: nn.Module, inputs: tuple[Tensor, ...], target: Target) -> tuple[Tensor, ...]:
    """Signal at each input, seeded with 1 at the target of each row; exact zeros for inputs that are not read."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    # A model may write into its argument, which autograd forbids for a leaf.
    value = select(model(*(leaf.clone() for leaf in leaves)), target).sum()
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True))


def attribute(construct: Construct, inputs: tuple[Tensor, ...], rule: str, target: Target = None) -> tuple[Tensor, ...]:
    """Gradient, guided backpropagation or deconvnet of a construct, in float64 whatever the inputs' dtype."""
    model = construct.oracle(rule_kit(rule))
    return reverse(model, tuple(x.double() for x in inputs), construct.target if target is None else target)


def input_x_gradient(construct: Construct, inputs: tuple[Tensor, ...], target: Target = None) -> tuple[Tensor, ...]:
    """`x * gradient`, sign kept."""
    return tuple(x.double() * g for x, g in zip(inputs, attribute(construct, inputs, "gradient", target), strict=True))


def output(construct: Construct, inputs: tuple[Tensor, ...]) -> Tensor:
    """The model's output in float64."""
    with torch.no_grad():
        return construct.oracle(rule_kit("gradient"))(*(x.double() for x in inputs))
