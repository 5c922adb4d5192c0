"""Layers for what has no module in PyTorch."""

from __future__ import annotations

import torch
from torch import nn


class Sum(nn.Module):
    """The sum over one axis; in a layer map also every addition x + y that a model writes out.

    Args:
        dim: the axis.
    """

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., d, ...) -> (..., ...)."""
        return input.sum(self.dim)
