"""Random numbers by counting: the same bits for every batch, chunk, thread and device.

The counter of Philox is (row, unit, stream, block of four draws), a unit being an antithetic pair or whatever else is
drawn at once.
"""

from __future__ import annotations

import torch

from reluxfast import ops
from reluxfast.ops.philox import draws

# What a draw is for; draws of different streams are independent.
PERMUTATIONS, BACKGROUNDS, NORMALS, MASKS, POSITIONS = range(5)


def permutations(seed: int, stream: int, rows: torch.Tensor, units: range, n: int) -> torch.Tensor:
    """Random orders of 0..n-1, int32 (R, U, n): the stable argsort of n draws; consecutive units."""
    return ops.draw_orders(rows, seed, stream, units.start, len(units), n)


def uniforms(seed: int, stream: int, rows: torch.Tensor, units: torch.Tensor, count: int) -> torch.Tensor:
    """Uniform numbers in (0, 1), float64 (R, U, count), 2³² values apart from 0 and 1."""
    return (draws(seed, stream, rows, units, count).double() + 0.5) / 2**32
