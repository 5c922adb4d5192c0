"""Sliding windows over a block of elements, and what the output loses behind them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from reluxfast.coalitions.game import Game
from reluxfast.coalitions.masks import values_of
from reluxfast.coalitions.players import Players
from reluxfast.progress import Bars, progress_bar

# Elements of the table of windows that is held at once.
_TABLE = 1 << 24


class Windows:
    """Windows at multiples of a step, cut at the border, and the cells into which their edges cut the block.

    Args:
        shape: of the block.
        sizes: of a window along each dimension, at most the block's.
        steps: between windows along each dimension, at most a window's size.

    Attributes:
        counts: number of cells along each dimension.
        labels: (p,) int64 cell of each element of the block, in the order of its shape.
        spans: for each window the first and the end cell along each dimension.
    """

    def __init__(self, shape: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]):
        starts = [range(0, max(1, d - w + s), s) for d, w, s in zip(shape, sizes, steps, strict=True)]
        listed = [[a for a in some if a < d] for some, d in zip(starts, shape, strict=True)]
        cells, belongs = zip(*map(_cells, shape, sizes, listed), strict=True)
        self.counts = tuple(map(len, cells))
        self.labels = torch.from_numpy(np.ravel_multi_index(np.ix_(*belongs), self.counts).reshape(-1))
        covers = (list(zip(*_covers(c, w, a), strict=True)) for c, w, a in zip(cells, sizes, listed, strict=True))
        self.spans = list(itertools.product(*covers))

    def players(self, place: torch.Tensor, elements: int) -> Players:
        """Cells, and a last player of all elements outside the block, if there are any.

        Args:
            place: (..., p) where the block's elements are in a row, which may hold the block several times.
            elements: of a row.
        """
        cells = math.prod(self.counts)
        labels = torch.full((elements,), cells, dtype=torch.int32, device=place.device)
        labels[place] = self.labels.to(place.device, torch.int32)
        return Players(labels, cells + (elements > place.numel()))


def occluded(game: Game, windows: Windows, bars: Bars = progress_bar) -> torch.Tensor:
    """(N, p, K) float64: the mean loss of output over the windows that cover an element of the block.

    Args:
        game: whose players are `windows.players(...)`.
        windows: over the block.
        bars: makes the bar.
    """
    counts, spans, cells = windows.counts, windows.spans, math.prod(windows.counts)
    lost = game.full.new_zeros(game.rows, *counts, game.full.shape[1])
    cover = np.zeros(counts)
    stretch = max(1, _TABLE // game.n)
    with bars(total=len(spans), desc="occlusion", unit="window") as bar:
        for start in range(0, len(spans), stretch):
            some = [tuple(slice(a, b) for a, b in window) for window in spans[start : start + stretch]]
            present = np.ones((len(some), game.n), dtype=bool)
            for row, where in zip(present, some, strict=True):
                row[:cells].reshape(counts)[where] = False
            loss = game.full.unsqueeze(1) - values_of(game, present)
            for i, where in enumerate(some):
                lost[(slice(None), *where)] += loss[:, i].view(game.rows, *[1] * len(counts), loss.shape[2])
                cover[where] += 1
            bar.update(len(some))
    mean = lost / torch.from_numpy(cover).to(lost.device).unsqueeze(-1)
    return mean.flatten(1, -2)[:, windows.labels.to(lost.device)]


def _cells(length: int, size: int, starts: list[int]) -> tuple[list[int], np.ndarray]:
    """Where cells that no window cuts begin along one dimension, and the cell of each element."""
    edges = sorted({0, *starts, *(min(a + size, length) for a in starts)} - {length})
    return edges, np.searchsorted(edges, np.arange(length), side="right") - 1


def _covers(edges: list[int], size: int, starts: list[int]) -> tuple[list[int], list[int]]:
    """First and end cell of each window."""
    return [edges.index(a) for a in starts], [int(np.searchsorted(edges, a + size)) for a in starts]
