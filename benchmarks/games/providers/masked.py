"""Masked batches by torch: what a careful user writes, with the engine's orders, so that values are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from reluxfast.benchmarks.games import draws
from reluxfast.benchmarks.games.draws import Draws
from reluxfast.benchmarks.games.networks import Game
from reluxfast.benchmarks.tuning import fastest

_ORDERS_AT_ONCE = (2, 8, 32, 128, 512, 2048)
# Of one batch of masked rows.
_MOST_BYTES = 1 << 30

Marginals = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def drawn(game: Game, orders: int, seed: int) -> Draws:
    """The engine's orders of a game."""
    return draws.of_engine(len(game.x), orders, game.players, len(game.background), seed, game.x.device)


def marginals(model: nn.Module, x: Tensor, background: Tensor, orders: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Marginals (A, n, K) along orders (A, n) of rows x (A, n), all of whose masked inputs are one batch.

    Args:
        background: (A, n) the row that absent players are taken from.
        low, high: (A, K) outputs of both.
    """
    count, n = orders.shape
    positions = torch.arange(n, device=orders.device)
    rank = torch.empty_like(orders).scatter_(1, orders, positions.expand_as(orders))
    present = rank.unsqueeze(1) < positions[1:].unsqueeze(1)
    batch = torch.where(present, x.unsqueeze(1), background.unsqueeze(1))
    inner = model(batch.view(-1, n)).view(count, n - 1, -1)
    along = torch.cat([low.unsqueeze(1), inner, high.unsqueeze(1)], 1).diff(dim=1)
    return along.gather(1, rank.unsqueeze(-1).expand_as(along))


@torch.no_grad()
def values(game: Game, given: Draws, at_once: int, along: Marginals = marginals) -> Tensor:
    """Values (N, K, d), `at_once` orders in each batch."""
    rows, count, n = given.orders.shape
    low, high = game.model(game.background), game.model(game.x)
    orders, met = given.orders.view(-1, n), given.backgrounds.view(-1)
    row = torch.arange(rows, device=met.device).repeat_interleave(count)
    found = high.new_empty(rows * count, n, game.outputs)
    for start in range(0, len(row), at_once):
        some = slice(start, start + at_once)
        own, back = row[some], met[some]
        found[some] = along(game.model, game.x[own], game.background[back], orders[some], low[back], high[own])
    return found.view(rows, count, n, -1).mean(1).transpose(1, 2)


def compiled() -> Marginals:
    """`marginals` by torch.compile, for batches of any size."""
    torch.compiler.reset()  # each problem from scratch: after eight networks it would silently run as it is written
    return torch.compile(marginals, dynamic=True)


def tuned(game: Game, given: Draws, along: Marginals = marginals) -> int:
    """The fastest number of orders in a batch."""
    bytes_of_order = (game.players - 1) * game.players * game.x.element_size()
    most = min(given.orders[..., 0].numel(), max(2, _MOST_BYTES // bytes_of_order))
    sizes = dict.fromkeys(min(size, most) for size in _ORDERS_AT_ONCE)
    values(game, given, most, along)  # what is compiled at the first call is nobody's time
    return fastest(lambda size: values(game, given, size, along), sizes, game.x.device)


def prepared(game: Game, orders: int, seed: int, along: Marginals = marginals) -> tuple[Callable[[], Tensor], str]:
    """The timed call at its best batch, and what that is; orders are drawn before."""
    given = drawn(game, orders, seed)
    at_once = tuned(game, given, along)
    return partial(values, game, given, at_once, along), f"{at_once} orders a batch"
