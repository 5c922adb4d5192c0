"""The floor of perceptrons: the library's matrix product alone, on as many FLOP as running sums leave."""

from __future__ import annotations

import torch

from reluxfast.benchmarks.games.networks import Game
from reluxfast.benchmarks.problem import Prepared

_ROWS = 4096


def prepare(game: Game, flop: int) -> Prepared:
    """Products in the shape of the second layer, on random numbers."""
    first, second = game.hidden
    like = {"device": game.x.device, "dtype": game.x.dtype}
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*shape, generator=generator).to(**like) for shape in ((_ROWS, first), (first, second)))
    out = torch.empty(_ROWS, second, **like)
    times, rest = divmod(max(1, round(flop / (2 * first * second))), _ROWS)

    def call() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)
        if rest:
            torch.mm(a[:rest], b, out=out[:rest])

    return Prepared(call, None, f"{times * _ROWS + rest} rows times {first} x {second}, {_ROWS} at once")
