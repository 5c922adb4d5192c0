"""What a game may ask for outputs: any function of a batch, in the order of elements that it wants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reluxfast.errors import InvalidInput


@dataclass(frozen=True)
class RowOrder:
    """In which order the elements of a row lie in memory.

    Attributes:
        shape: of a row.
        channels_last: whether dimension 0 of a row, its channels, is innermost.
    """

    shape: tuple[int, ...]
    channels_last: bool

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, *shape) as (N, d)."""
        return (x.movedim(1, -1) if self.channels_last else x).reshape(x.shape[0], math.prod(self.shape))

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (T, d) as (T, *shape), without a copy."""
        if not self.channels_last:
            return rows.view(rows.shape[0], *self.shape)
        return rows.view(rows.shape[0], *self.shape[1:], self.shape[0]).movedim(-1, 1)


class FunctionModel:
    """A function of a batch (T, *shape) as a model of rows (T, d).

    Args:
        function: returns (T,) or (T, ...), a Tensor or an array.
        order: of the rows.
        as_array: whether it is given numpy arrays.
        padded: whether its calls are filled up to one size, so that a row has the same bits in each of them; False: it
            is given no row that nobody asks for, and rows are as alike as its rounding.
    """

    def __init__(self, function: Callable[[Any], Any], order: RowOrder, as_array: bool, padded: bool = True):
        self._function, self._order, self._as_array = function, order, as_array
        self.inner: tuple[int, ...] | None = None
        self.alike = not padded

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (T, K) of rows (T, d).

        Raises:
            InvalidInput: the function does not return one output for each row, or outputs of changing shapes.
        """
        batch = self._order.batch(rows)
        with torch.no_grad():
            output = self._function(batch.cpu().numpy() if self._as_array else batch)
        if not isinstance(output, torch.Tensor):
            try:
                array = np.asarray(output)
            except ValueError:
                raise InvalidInput("f", "must return numbers, as many for each row", type(output).__name__) from None
            if array.dtype.kind not in "fiub":
                raise InvalidInput("f", "must return numbers", f"{type(output).__name__} of {array.dtype}")
            output = torch.from_numpy(array)
        if output.is_complex() or output.layout != torch.strided:
            raise InvalidInput("f", "must return real numbers, in a dense Tensor", f"{output.dtype}, {output.layout}")
        if output.dim() == 0 or output.shape[0] != rows.shape[0]:
            shown = f"an output of shape {tuple(output.shape)} for a batch of {rows.shape[0]} rows"
            raise InvalidInput("f", "must return one output for each row of its batch", shown)
        inner = tuple(output.shape[1:])
        if self.inner is not None and inner != self.inner:
            raise InvalidInput("f", f"must return rows of shape {self.inner}, as it did before", inner)
        self.inner = inner
        return output.detach().to(rows.device).reshape(rows.shape[0], -1)
