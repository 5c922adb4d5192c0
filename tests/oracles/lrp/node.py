"""One elementary operation of a recorded forward pass, and its explicit matrix."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.oracles.lrp.rules import Affine

WEIGHTED = ("convolution", "linear")


@dataclass(eq=False)
class Node:
    """One operation at one call site.

    Attributes:
        op: name of the operation, e.g. "conv2d".
        kind: convolution, linear, batch_norm, activation, add, average, upsample, scale, shift, max_pool, product,
            other.
        path: path of the innermost module that was running; "" at the root.
        inputs: values read, before the operation ran.
        cells: for each input the id of every element, 0 where it is a constant.
        output: value made.
        output_cells: ids of its elements.
        linear: the operation without its bias, for affine kinds.
        ones: the same with every weight replaced by 1, where there are weights.
        bias: of the output's shape.
        function: inputs -> output, for its derivative.
        high: upper bound of an activation (its lower bound is 0).
        even: a maximum that splits ties evenly.
        folded: path of the batch norm folded into this node.
        call: how often the same path and operation ran before.
        first: it is the first convolution or linear map in execution order.
        first_convolution: it is the first convolution in execution order.
    """

    op: str
    kind: str
    path: str
    inputs: tuple[Tensor, ...]
    cells: tuple[Tensor, ...]
    output: Tensor
    output_cells: Tensor
    function: Callable[..., Tensor]
    linear: Callable[..., Tensor] | None = None
    ones: Callable[..., Tensor] | None = None
    bias: Tensor | None = None
    high: float = math.inf
    even: bool = False
    folded: str | None = None
    call: int = 0
    first: bool = False
    first_convolution: bool = False

    def __str__(self) -> str:
        return f"{self.op} ({self.kind}) in module {self.path!r}"

    @functools.cached_property
    def affine(self) -> Affine | None:
        """The node as a matrix at its input; None if it has no linear form."""
        if self.kind == "max_pool":
            matrix, ones = _winners(self)
        elif self.linear is not None:
            matrix = _columns(self.linear, self.inputs)
            ones = (matrix != 0).to(matrix.dtype) if self.ones is None else (_columns(self.ones, self.inputs) != 0)
        else:
            return None
        bias = torch.zeros_like(self.output) if self.bias is None else self.bias
        x = torch.cat([v.flatten() for v in self.inputs])
        shape = tuple(self.inputs[0].shape) if len(self.inputs) == 1 else (len(x),)
        return Affine(matrix, bias.flatten(), ones.to(matrix.dtype), x, shape)


def _columns(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    """Matrix `(m, d)` of a linear map of several inputs: unit vectors pushed through it, one input after the other."""
    blocks = []
    for i, v in enumerate(inputs):
        units = torch.eye(v.numel(), dtype=v.dtype).reshape(-1, *v.shape)

        def push(unit: Tensor, i: int = i) -> Tensor:
            return function(*(unit if i == j else torch.zeros_like(w) for j, w in enumerate(inputs)))

        blocks.append(torch.func.vmap(push)(units).flatten(1).T)
    return torch.cat(blocks, 1)


def _winners(node: Node) -> tuple[Tensor, Tensor]:
    """Selection matrix of a maximum, and which elements compete: a window wakes up when one of its elements does."""
    (x,) = node.inputs
    asleep = torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape) - 1.0
    members = torch.stack([node.function(v) for v in asleep]).flatten(1).T == 0.0
    values = torch.where(members, x.flatten(), torch.full((), -math.inf, dtype=x.dtype))
    top = values == values.amax(1, keepdim=True)
    if node.even:
        return top.to(x.dtype) / top.sum(1, keepdim=True), members
    first = torch.zeros_like(values)
    first[torch.arange(len(values)), top.int().argmax(1)] = 1.0
    return first, members
