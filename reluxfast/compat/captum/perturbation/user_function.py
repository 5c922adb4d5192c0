"""The user's function, with what it takes besides inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.errors import Refused
from reluxfast.graph.twin import eval_twin

# How far an example's output may depend on what else is in its batch, relative to the largest: rounding, and no more.
_ALONE = 1e-3


class UserFunction:
    """A function of inputs and further arguments, of which Tensors with a row for each example go along with them.

    Args:
        function: called under no_grad; a module as if in eval mode.
        extra: its further arguments.
        rows: N.

    Attributes:
        along: whether an argument goes along with the examples.
    """

    def __init__(self, function: Callable[..., Any], extra: tuple[Any, ...], rows: int):
        self._function = function
        if isinstance(function, nn.Module) and any(m.training for m in function.modules()):
            self._function = eval_twin(function)
        self._extra = extra
        self._along = [isinstance(e, torch.Tensor) and e.dim() > 0 and len(e) == rows for e in extra]
        self.along = any(self._along)

    def __call__(self, tensors: tuple[torch.Tensor, ...], numbers: torch.Tensor | None = None) -> torch.Tensor:
        """Output of tensors (T, ...), which come from the examples `numbers` (T,), or are all of them.

        Raises:
            AssertionError: it is no Tensor and no number.
        """
        extra = self._extra
        if numbers is not None:
            pairs = zip(extra, self._along, strict=True)
            extra = tuple(e[numbers.to(e.device)] if along else e for e, along in pairs)
        with torch.no_grad():
            output = self._function(*tensors, *extra)
        if isinstance(output, torch.Tensor):
            return output
        if isinstance(output, (int, float)):
            return torch.tensor(output, dtype=torch.float64 if isinstance(output, float) else torch.int64)
        raise Refused("forward_func", "must return a Tensor, an int or a float", type(output).__name__)

    def answers_each(self, tensors: tuple[torch.Tensor, ...], output: torch.Tensor, said: bool) -> bool:
        """Whether outputs are one for each example, whatever else is in the batch.

        Args:
            tensors: all examples.
            output: of them.
            said: whether the user says so; then values are not compared.
        """
        rows = len(tensors[0])
        if output.dim() == 0 or len(output) != rows:
            return False
        if not rows:
            return True
        numbers = torch.arange(rows + 1, device=tensors[0].device) % rows
        try:
            more = self(tuple(t[numbers] for t in tensors), numbers)
        except Exception:  # what is made for one size of batch may fail in any way on another
            return False
        if more.shape != (rows + 1, *output.shape[1:]):
            return False
        if said or not output.numel():
            return True
        expected, found = output.double(), more[:rows].double()
        if not bool(expected.isfinite().all()):
            return True  # refused later, where it can be said of which coalition
        return torch.allclose(found, expected, 0, _ALONE * float(expected.abs().max()))
