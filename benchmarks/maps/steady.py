"""Images whose maps do not jump under rounding.

A map is discontinuous where a ReLU or a pool changes sides. On a whole network some of millions of units always lie
within rounding of that; a small copy has so few that images can be chosen where none does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reluxfast.benchmarks.maps import float64

# Relative change of weights and pixels: several times what rounding to float32 does to a gradient, as measured where
# nothing jumps (4e-7 on small copies, where this change makes 3e-6).
SHAKE = 3e-7
SHAKES = 2


def steadiest(model: nn.Module, x: Tensor, target: Tensor, count: int, points: Sequence[float]) -> Tensor:
    """Indices (count,) of rows, in order: the float64 gradient moves least there when weights and pixels do.

    Args:
        points: multiples of x where maps read the gradient.
    """
    twin, x = float64.twin_of(model), x.double()
    at_rest = _gradients(twin, x, target, points)
    moved = torch.zeros(len(points), len(x), dtype=torch.float64)
    for seed in range(SHAKES):
        for change in (SHAKE, -SHAKE):  # what lies close to its kink crosses it in one of both directions
            generator = torch.Generator().manual_seed(seed)
            shaken = copy.deepcopy(twin)
            for weight in shaken.parameters():
                weight.mul_(_nearly_one(weight, change, generator))
            g = _gradients(shaken, x * _nearly_one(x, change, generator), target, points)
            moved = torch.maximum(moved, (g - at_rest).norm(dim=2) / at_rest.norm(dim=2))
    return moved.amax(0).argsort(stable=True)[:count].sort().values


def _gradients(twin: nn.Module, x: Tensor, target: Tensor, points: Sequence[float]) -> Tensor:
    """(points, N, elements of x)."""
    at = torch.cat([t * x for t in points])
    return float64.gradient(twin, at, target.repeat(len(points))).reshape(len(points), len(x), -1)


def _nearly_one(like: Tensor, change: float, generator: torch.Generator) -> Tensor:
    return 1 + change * torch.randn(like.shape, dtype=like.dtype, generator=generator)
