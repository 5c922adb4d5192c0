"""What the output loses when something is taken away: players one by one, or sliding windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.masks import values_of
from reluxfast.coalitions.request import GameRequest
from reluxfast.coalitions.windows import Windows, occluded
from reluxfast.errors import InvalidInput

# Elements of the table of players that are present, that is held at once.
_TABLE = 1 << 24


def feature_ablation(request: GameRequest) -> Estimate:
    """Feature ablation: v(N) - v(N∖i) for each player i.

    Returns:
        values; they need not sum to output - base_value.
    """
    n, backgrounds = request.players.count, request.backgrounds
    game = request.game(n * backgrounds)
    without, stretch = [], max(1, _TABLE // n)
    with request.bars(total=n, desc="feature ablation", unit="player") as bar:
        for start in range(0, n, stretch):
            left_out = np.arange(start, min(start + stretch, n))
            # Without its only player a game is empty.
            without.append(values_of(game, left_out[:, None] != np.arange(n)))
            bar.update(len(left_out))
    spent = torch.full_like(game.numbers, n * backgrounds + 1)
    return Estimate(game.full.unsqueeze(1) - torch.cat(without, 1), None, spent)


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
    sizes = _sizes("window", window, shape)
    steps = sizes if stride is None else _sizes("stride", stride, shape)
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        if step > size:
            raise InvalidInput("stride", f"must not exceed the window along dimension {axis} ({size})", step)
    elements = math.prod(shape)
    numbers = torch.arange(elements, device=request.x.device).view(1, *shape)
    place = request.order.rows(numbers)[0].argsort()
    windows = Windows(shape, sizes, steps)
    request.players = windows.players(place, elements)
    return block_occlusion(request, windows)


def block_occlusion(request: GameRequest, windows: Windows) -> Estimate:
    """Occlusion of a block of the elements of a row, the others staying as they are.

    Args:
        request: whose players are `windows.players(...)`.
        windows: over the block.

    Returns:
        values (N, p, K) of the block's elements.
    """
    evaluations = len(windows.spans) * request.backgrounds
    game = request.game(evaluations)
    spent = torch.full_like(game.numbers, evaluations + 1)
    return Estimate(occluded(game, windows, request.bars), None, spent, {"windows": len(windows.spans)})


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
