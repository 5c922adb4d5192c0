"""A module with some of its arguments fixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

_PLAIN = (int, float, str, bytes, bool, type(None), torch.dtype, torch.device)


class Bound(nn.Module):
    """A model called with tensors, in order, where its arguments have `TENSOR`, and with fixed values elsewhere.

    Args:
        model: called as model(*inputs, *arguments).
        inputs: number of its first arguments, which are tensors.
        arguments: the others.
        first: whether the first Tensor of its output is returned, where it has several.
    """

    TENSOR = "<tensor>"

    def __init__(self, model: nn.Module, inputs: int, arguments: tuple[Any, ...], first: bool = False):
        super().__init__()
        self.model, self.inputs, self.arguments, self.first = model, inputs, arguments, first
        self.train(model.training)

    def forward(self, *tensors: torch.Tensor) -> Any:
        rest = iter(tensors[self.inputs :])
        filled = [next(rest) if isinstance(a, str) and a == Bound.TENSOR else a for a in self.arguments]
        output = self.model(*tensors[: self.inputs], *filled)
        if self.first:
            return next(leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor))
        return output

    def fits(self, model: nn.Module, inputs: int, arguments: tuple[Any, ...], first: bool) -> bool:
        """Whether it is made of these; what is no plain value counts by identity."""
        if self.model is not model or (self.inputs, self.first) != (inputs, first):
            return False
        if len(arguments) != len(self.arguments):
            return False
        return all(
            a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b)
            for a, b in zip(arguments, self.arguments, strict=True)
        )
