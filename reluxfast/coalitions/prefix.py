"""Networks that begin with an affine map: its value changes by one player's share at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from reluxfast.coalitions.chains import by_player
from reluxfast.coalitions.cube import SummedCube
from reluxfast.coalitions.first_map import FirstMap, Steps
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.inert import inert

_PATH = "prefix"
# Bytes of first values that are held at once.
_HELD_BYTES = 64 << 20


@dataclass(frozen=True)
class PrefixWays:
    """A network as its first map and the rest; see `Ways`.

    Attributes:
        first: the map, its columns in the order of a game's rows.
        shape: of a row of what the rest takes; H is its number of elements.
        rest: maps values (T, *shape) of the first map to outputs (T, ...).
    """

    first: FirstMap
    shape: tuple[int, ...]
    rest: Callable[[torch.Tensor], torch.Tensor]

    def chains(self, game: Game, allow_tf32: bool) -> PrefixChains:
        """See `Ways`; library calls, which are IEEE."""
        return PrefixChains(game, self)

    def cube(self, game: Game) -> SummedCube:
        """See `Ways`."""

        def behind(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
            sizes = *high.shape[:2], low.shape[1]
            return self.outputs(_sums(high, low, game.tile), game.tile).view(*sizes, -1)

        return SummedCube(game, _PATH, self.first, behind)

    def outputs(self, parts: Iterable[torch.Tensor], tile: int) -> torch.Tensor:
        """Outputs (M, K) float64 of first values (M, H) in parts of at most `tile`, in calls of that size."""
        batch, found = None, []
        for some in parts:
            batch = some[:1].repeat(tile, 1) if batch is None else batch
            batch[: len(some)] = some
            found.append(self.rest(batch.view(tile, *self.shape))[: len(some)].flatten(1).double())
        return torch.cat(found)


def _sums(high: torch.Tensor, low: torch.Tensor, tile: int) -> Iterable[torch.Tensor]:
    """All sums of (R, P, H) and (R, Q, H), (R·P·Q, H) in parts of at most `tile`."""
    (rows, p, _), q = high.shape, low.shape[1]
    for number in torch.arange(rows * p * q, device=high.device).split(tile):
        yield high.flatten(0, 1)[number // q] + low.flatten(0, 1)[number // (p * q) * q + number % q]


class PrefixChains:
    """Chains whose first map is a running sum, the rest of the network taking its values in large batches.

    Args:
        game: the game.
        ways: the network.
    """

    path = _PATH

    def __init__(self, game: Game, ways: PrefixWays):
        self.game, self.ways = game, ways

    def at_once(self) -> int:
        """See `Chains`."""
        return max(1, _HELD_BYTES // (4 * self.ways.first.weight.numel() * self.game.x.element_size()))

    def pairs(self, rows: torch.Tensor, cycle: torch.Tensor, orders: torch.Tensor, antithetic: bool) -> torch.Tensor:
        """See `Chains`."""
        game, first = self.game, self.ways.first
        ends = game.empty_at(rows, cycle), game.full[rows].unsqueeze(1)
        if game.n == 1:
            return (ends[1] - ends[0]).unsqueeze(2)
        x, low, high = game.x[rows], self._first_of_background[cycle], self._first_of_x[rows]
        orders = orders.long()
        steps = self._steps(rows, cycle)  # (R, G, n, H)
        steps = steps.gather(2, orders.unsqueeze(-1).expand(-1, -1, -1, high.shape[-1]))[:, :, :-1]
        sums = steps.cumsum(2)
        # Forward from the background; backwards from x, so that both ends stay what they are.
        chains = [low.unsqueeze(2) + sums]
        if antithetic:
            chains.append(high.view(len(rows), 1, 1, -1) - sums)
        values = self._rest(torch.stack(chains, 2), rows)
        found = by_player(values, ends, orders)
        still = inert(game, x, cycle, first.dead)
        return found if still is None else found.masked_fill_(still.unsqueeze(-1), 0)

    @cached_property
    def _steps(self) -> Steps:
        return Steps(self.ways.first, self.game.x, self.game.background, self.game.players)

    @cached_property
    def _first_of_background(self) -> torch.Tensor:
        return self.ways.first.values(self.game.background)

    @cached_property
    def _first_of_x(self) -> torch.Tensor:
        return self.ways.first.values(self.game.x)

    def _rest(self, first: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (R, G, chains, n - 1, K) float64 of values (R, G, chains, n - 1, H)."""
        game, flat = self.game, first.flatten(0, 3)
        outputs = self.ways.outputs(flat.split(game.tile), game.tile)
        game.refuse_not_finite(outputs)
        outputs = outputs.view(*first.shape[:4], outputs.shape[-1])
        if game.chosen is None:
            return outputs
        return outputs.gather(4, game.chosen[rows].view(-1, 1, 1, 1, 1).expand(*outputs.shape[:4], 1))
