"""The largest output of each row, as targets."""

from __future__ import annotations

import math

import torch

from reluxfast import ops
from reluxfast.captured import Captured


def top_targets(known: Captured, x: tuple[torch.Tensor, ...]) -> list[int] | list[tuple[int, ...]] | None:
    """Where the output of each row is largest, in the form that `attribute` takes; the first of equal ones.

    Args:
        known: the captured model.
        x: its inputs, tensors (N, ...) of the dtypes it was captured with.

    Returns:
        N ints for an output (N, K), N tuples for more dimensions, None where a row has one output.
    """
    output = known.engine().outputs([item.to(known.dtype) for item in x], ops.active_backend() != "reference")
    if math.prod(output.shape[1:]) == 1:
        return None
    if output.dim() == 2:
        return output.argmax(1).tolist()
    return [tuple(int(i) for i in torch.unravel_index(row.argmax(), row.shape)) for row in output]
