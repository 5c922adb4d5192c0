"""What sampled Shapley values are held against: walks in float64 that write every masked input, by the definition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reluxfast.benchmarks.games.draws import Draws
from reluxfast.benchmarks.games.networks import Game

# Marginals that are held at once.
_AT_ONCE = 1 << 19
# Rounds at the first look at the error.
_LOOK = 32


@dataclass(frozen=True)
class LongRun:
    """Values of many pairs of an order and its reverse.

    Attributes:
        values: (N, K, d) float64.
        spread: (N, K, d) over √pairs it is the standard error: the standard deviation of pairs where there is
            one background row, less where many are met in turn.
        pairs: how many there were for each row.
    """

    values: Tensor
    spread: Tensor
    pairs: int

    def standard_error(self, pairs: int) -> Tensor:
        """(N, K, d) standard errors of that many pairs."""
        return self.spread / pairs**0.5


@torch.no_grad()
def marginals(game: Game, draws: Draws) -> Tensor:
    """What each player changes the outputs by along each order, (N, P, K, d); `game` is in float64."""
    rows, count, n = draws.orders.shape
    z = game.background[draws.backgrounds]
    x = game.x.unsqueeze(1).expand(-1, count, -1)
    before = game.model(z.view(-1, n)).view(rows, count, -1)
    found = before.new_empty(*before.shape, n)
    for player in draws.orders.split(1, dim=-1):
        z.scatter_(2, player, x.gather(2, player))
        after = game.model(z.view(-1, n)).view_as(before)
        found.scatter_(3, player.unsqueeze(2).expand(-1, -1, before.shape[-1], -1), (after - before).unsqueeze(-1))
        before = after
    return found


def walked(game: Game, draws: Draws) -> Tensor:
    """Values (N, K, d) in float64 along given orders."""
    wide, width = game.double(), _width(game)
    parts = zip(draws.orders.split(width, 1), draws.backgrounds.split(width, 1), strict=True)
    return sum(marginals(wide, Draws(*some)).sum(1) for some in parts) / draws.orders.shape[1]


def long_run(game: Game, pairs: int, seed: int = 1) -> LongRun:
    """Values of at least that many pairs, drawn by torch, in whole rounds of background rows."""
    runner = _Run(game, seed)
    runner.add(-(-pairs // len(game.background)))
    return runner.found()


def until(game: Game, share: float, most: int, seed: int = 1) -> LongRun:
    """Pairs until the RMS standard error is that share of a row's range of values, about `most` of them at most."""
    runner, most = _Run(game, seed), -(-most // len(game.background))
    while True:
        runner.add(min(max(_LOOK, runner.rounds // 2), most - runner.rounds))
        found = runner.found()
        scale = found.values.amax(-1, keepdim=True) - found.values.amin(-1, keepdim=True)
        if runner.rounds >= most or (found.standard_error(found.pairs) / scale).square().mean().sqrt() <= share:
            return found


class _Run:
    """Sums over rounds: as many pairs as there are background rows, each of which is met once."""

    def __init__(self, game: Game, seed: int):
        self._game, self._round = game.double(), len(game.background)
        self._generator = torch.Generator().manual_seed(seed)
        self._at_once = max(1, _width(game) // (2 * self._round))
        shape = len(game.x), game.outputs, game.players
        self._sum, self._squares = (self._game.x.new_zeros(shape) for _ in range(2))
        self.rounds = 0

    def add(self, rounds: int) -> None:
        stop = self.rounds + rounds
        while self.rounds < stop:
            count = min(self._at_once, stop - self.rounds)
            pairs = count * self._round
            first = torch.rand(len(self._sum), pairs, self._game.players, generator=self._generator).argsort(-1)
            met = torch.arange(self._round).repeat(len(first), 2 * count)
            both = torch.cat([first, first.flip(-1)], 1), met
            found = marginals(self._game, Draws(*(given.to(self._sum.device) for given in both)))
            of_rounds = ((found[:, :pairs] + found[:, pairs:]) / 2).unflatten(1, (count, self._round)).mean(2)
            self._sum += of_rounds.sum(1)
            self._squares += of_rounds.square().sum(1)
            self.rounds += count

    def found(self) -> LongRun:
        mean = self._sum / self.rounds
        variance = (self._squares / self.rounds - mean.square()).clamp_min(0) * self.rounds / max(1, self.rounds - 1)
        return LongRun(mean, (variance * self._round).sqrt(), self.rounds * self._round)


def _width(game: Game) -> int:
    """Orders of every row in one call."""
    return max(2, _AT_ONCE // (len(game.x) * game.players * (game.outputs + 1)))
