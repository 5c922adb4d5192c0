"""Rows with some players present and the others from a background, written by write_coalitions_."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.benchmarks.micro.works import Call, Values, Work

_SHAPES = ((64, 3, 56, 56), (64, 3, 112, 112))
_TINY = ((9, 3, 18, 20),)


def all_shapes(tiny: bool, dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Rows written from images of usual size."""
    if dtype != torch.float64:
        for shape in _TINY if tiny else _SHAPES:
            yield from works(shape, dtype, device)


def works(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """N rows of C x H x W elements from an eighth as many inputs and backgrounds.

    Players are squares of 16 x 16 pixels, or single elements; each input has an order of its own.
    """
    n, c, h, w = shape
    inputs, d = max(1, n // 8), c * h * w
    column = torch.arange(w, device=device) // 16
    square = (torch.arange(h, device=device) // 16)[:, None] * (int(column[-1]) + 1) + column
    squares = square.reshape(-1).repeat_interleave(c).int()
    variants = {"squares": (squares, dtype), "elements": (torch.arange(d, device=device).int(), dtype)}
    if dtype != torch.float32:
        variants["squares of float32"] = (squares, torch.float32)

    def drawn(labels: Tensor, source: torch.dtype) -> Values:
        x, background = (torch.randn(inputs, d, device=device).to(source) for _ in range(2))
        players = int(labels.max()) + 1
        ranks = torch.stack([torch.randperm(players, device=device) for _ in range(inputs)]).int()
        jobs = [[m % inputs] * 3 + [players * m // n] for m in range(n)]
        return x, background, labels, ranks, torch.tensor(jobs, dtype=torch.int32, device=device)

    def ours(x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor) -> Call:
        out = torch.empty(n, d, dtype=_written(x), device=device)

        def run() -> Values:
            ops.write_coalitions_(out, x, background, labels, ranks, jobs)
            return (out,)

        return Call(run, (x, background, labels, ranks, jobs), (out,))

    def plain(x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor) -> Call:
        row, base, order, below = jobs.long().unbind(1)
        # Six times as fast as indexing with labels.
        players = labels.long().expand(n, d)

        def run() -> Values:
            present = (ranks[order] < below[:, None]).gather(1, players)
            return (torch.where(present, x[row], background[base]).to(_written(x)),)

        return Call(run)

    def _written(x: Tensor) -> torch.dtype:
        return x.dtype if x.dtype == torch.float64 else dtype

    for name, variant in variants.items():
        yield Work("write_coalitions_", name, shape, lambda variant=variant: drawn(*variant), ours, plain)
