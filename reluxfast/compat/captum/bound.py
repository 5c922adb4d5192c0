"""A module with some of its arguments fixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_PLAIN = (int, float, str, bytes, bool, type(None), torch.dtype, torch.device)


class Bound(nn.Module):
    """A model called with tensors, in order, where its arguments have `TENSOR`, and with fixed values elsewhere.

    Args:
        model: called as model(*inputs, *arguments).
        inputs: number of its first arguments, which are tensors.
        arguments: the others.
    """

    TENSOR = "<tensor>"

    def __init__(self, model: nn.Module, inputs: int, arguments: tuple[Any, ...]):
        super().__init__()
        self.model, self.inputs, self.arguments = model, inputs, arguments
        self.train(model.training)

    def forward(self, *tensors: torch.Tensor) -> Any:
        rest = iter(tensors[self.inputs :])
        filled = [next(rest) if isinstance(a, str) and a == Bound.TENSOR else a for a in self.arguments]
        return self.model(*tensors[: self.inputs], *filled)

    def fits(self, model: nn.Module, inputs: int, arguments: tuple[Any, ...]) -> bool:
        """Whether it is made of these; what is no plain value counts by identity."""
        if self.model is not model or self.inputs != inputs or len(arguments) != len(self.arguments):
            return False
        return all(
            a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b)
            for a, b in zip(arguments, self.arguments, strict=True)
        )
