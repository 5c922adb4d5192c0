"""What sampling estimators do around the network: random orders, and running means and variances."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.benchmarks.micro.works import Call, Values, Work

# Rows, orders for each row, players.
_ORDERS = ((64, 64, 30), (4, 64, 784))
_TINY_ORDERS = ((2, 3, 5),)
# Rows, units for each row, players, outputs.
_UNITS = ((64, 64, 30, 1), (8, 32, 784, 10))
_TINY_UNITS = ((2, 3, 5, 2),)


def all_shapes(tiny: bool, dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Orders and units of games of usual size; orders have no dtype, and come once."""
    if dtype == torch.float32:
        for shape in _TINY_ORDERS if tiny else _ORDERS:
            yield _orders(shape, device)
    if dtype in (torch.float32, torch.float64):
        for shape in _TINY_UNITS if tiny else _UNITS:
            yield _units(shape, dtype, device)


def _orders(shape: tuple[int, int, int], device: torch.device) -> Work:
    rows, count, players = shape

    def ours(numbers: Tensor) -> Call:
        return Call(lambda: (ops.draw_orders(numbers, 7, 1, 5, count, players),), (numbers,))

    def plain(numbers: Tensor) -> Call:
        return Call(lambda: (torch.rand(rows, count, players, device=device).argsort(-1).int(),))

    # Other orders, but orders.
    def ascending(values: Values) -> Values:
        return tuple(t.sort(-1).values for t in values)

    def numbers() -> Values:
        return (torch.randperm(1000, device=device)[:rows],)

    return Work("draw_orders", "", shape, numbers, ours, plain, comparable=ascending)


def _units(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Work:
    rows, count, players, outputs = shape

    def draw() -> Values:
        units = torch.randn(rows, count, players, outputs, device=device).to(dtype)
        mean = torch.randn(rows, players, outputs, device=device).double()
        return (
            torch.full((rows,), 9, device=device),
            mean,
            mean.square() * 5,
            torch.randperm(rows, device=device),
            units,
        )

    def ours(seen: Tensor, mean: Tensor, m2: Tensor, chosen: Tensor, units: Tensor) -> Call:
        def run() -> Values:
            ops.accumulate_moments_(seen, mean, m2, chosen, units)
            return seen, mean, m2

        return Call(run, (seen, mean, m2, chosen, units), (seen, mean, m2))

    # Two batches of units joined (Chan et al. 1979).
    def plain(seen: Tensor, mean: Tensor, m2: Tensor, chosen: Tensor, units: Tensor) -> Call:
        def run() -> Values:
            before = seen[chosen].view(-1, 1, 1)
            variance, fresh = torch.var_mean(units.double(), 1, correction=0)
            apart, total = fresh - mean[chosen], (before + count).double()
            seen[chosen] += count
            mean[chosen] += apart * (count / total)
            m2[chosen] += variance * count + apart.square() * (before * count / total)
            return seen, mean, m2

        return Call(run, changes=(seen, mean, m2))

    # In float64; sums in another order differ by more than their last bit.
    return Work("accumulate_moments_", "", shape, draw, ours, plain, slack=(1.0, 100.0))
