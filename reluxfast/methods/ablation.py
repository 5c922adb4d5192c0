"""What the output loses when something is taken away: players one by one, or sliding windows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.masks import values_of
from reluxfast.coalitions.players import Players
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.progress import progress_bar

# Elements of the table of windows that is held at once.
_TABLE = 1 << 24


def feature_ablation(request: GameRequest) -> Estimate:
    """Feature ablation: v(N) - v(N∖i) for each player i.

    Returns:
        values; they need not sum to output - base_value.
    """
    n, backgrounds = request.players.count, len(request.background)
    game = request.game(n * backgrounds)
    # Without its only player a game is empty.
    without = values_of(game, ~np.eye(n, dtype=bool))
    spent = torch.full_like(game.numbers, n * backgrounds + 1)
    return Estimate(game.full.unsqueeze(1) - without, None, spent)


def occlusion(request: GameRequest, window: int | Sequence[int], stride: int | Sequence[int] | None = None) -> Estimate:
    """Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901): mean loss of output over the windows that cover an element.

    Args:
        window: sizes of a window along all dimensions of a row, or along all but the first, which is then covered
            whole (channels); one number: the same along each of those (or along the only one).
        stride: step between windows, in the same form; default: the window. Windows start at multiples of it and are
            cut at the border.

    Returns:
        values like x: the mean of f(x) - f(x with the window at the baseline).
    """
    shape = request.order.shape
    if not shape:
        raise InvalidInput("x", "must have rows of at least one dimension for occlusion", (len(request.x),))
    sizes, steps = _sizes("window", window, shape), None
    steps = sizes if stride is None else _sizes("stride", stride, shape)
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        if step > size:
            raise InvalidInput("stride", f"must not exceed the window along dimension {axis} ({size})", step)
    starts = [range(0, max(1, d - w + s), s) for d, w, s in zip(shape, sizes, steps, strict=True)]
    starts = [[a for a in listed if a < d] for listed, d in zip(starts, shape, strict=True)]
    cells, belongs = zip(*(_cells(d, w, a) for d, w, a in zip(shape, sizes, starts, strict=True)), strict=True)
    labels = torch.from_numpy(np.ravel_multi_index(np.ix_(*belongs), tuple(map(len, cells))))
    request.players = Players.of(request.order.rows(labels.unsqueeze(0))[0].to(request.x.device))
    windows = list(
        itertools.product(
            *(list(zip(*_covers(c, w, a), strict=True)) for c, w, a in zip(cells, sizes, starts, strict=True))
        )
    )
    backgrounds = len(request.background)
    game = request.game(len(windows) * backgrounds)
    counts = tuple(map(len, cells))
    lost = game.full.new_zeros(game.rows, *counts, game.full.shape[1])
    cover = np.zeros(counts)
    stretch = max(1, _TABLE // game.n)
    with progress_bar(total=len(windows), desc="occlusion", unit="window") as bar:
        for start in range(0, len(windows), stretch):
            some = windows[start : start + stretch]
            present = np.ones((len(some), *counts), dtype=bool)
            for hidden, spans in zip(present, some, strict=True):
                hidden[tuple(slice(a, b) for a, b in spans)] = False
            loss = game.full.unsqueeze(1) - values_of(game, present.reshape(len(some), -1))
            for i, spans in enumerate(some):
                where = tuple(slice(a, b) for a, b in spans)
                lost[(slice(None), *where)] += loss[:, i].view(game.rows, *[1] * len(counts), loss.shape[2])
                cover[where] += 1
            bar.update(len(some))
    mean = lost / torch.from_numpy(cover).to(lost.device).unsqueeze(-1)
    values = mean.flatten(1, -2)[:, labels.flatten().to(lost.device)]
    spent = torch.full_like(game.numbers, len(windows) * backgrounds + 1)
    return Estimate(values, None, spent, {"windows": len(windows)})


def _sizes(name: str, given: int | Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    free = shape if len(shape) == 1 else shape[1:]
    found = tuple(given) if isinstance(given, Sequence) else (given,) * len(free)
    if len(found) == len(shape) - 1:
        found = (shape[0], *found)
    if len(found) != len(shape) or not all(_is_size(v) for v in found):
        raise InvalidInput(name, f"must hold positive ints for the dimensions of a row {shape}", given)
    return tuple(int(min(v, d)) for v, d in zip(found, shape, strict=True))


def _is_size(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value > 0


def _cells(length: int, size: int, starts: list[int]) -> tuple[list[int], np.ndarray]:
    """Where cells that no window cuts begin along one dimension, and the cell of each element."""
    edges = sorted({0, *starts, *(min(a + size, length) for a in starts)} - {length})
    return edges, np.searchsorted(edges, np.arange(length), side="right") - 1


def _covers(edges: list[int], size: int, starts: list[int]) -> tuple[list[int], list[int]]:
    """First and end cell of each window."""
    return [edges.index(a) for a in starts], [int(np.searchsorted(edges, a + size)) for a in starts]
