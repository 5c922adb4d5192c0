"""Chains of networks that begin with an affine map: its value changes by one player's share at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from reluxfast.coalitions.chains import by_player
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.inert import inert

# Bytes of first values that are held at once.
_HELD_BYTES = 64 << 20


@dataclass
class PrefixChains:
    """Chains whose first map is a running sum, the rest of the network taking its values in large batches.

    Attributes:
        game: the game.
        weight, bias: (H, d) and (H,) of the first map; columns in the order of the game's rows.
        shape: of a row of what the rest takes; H is its number of elements.
        rest: maps values (T, *shape) of the first map to outputs (T, ...).
    """

    game: Game
    weight: torch.Tensor
    bias: torch.Tensor
    shape: tuple[int, ...]
    rest: Callable[[torch.Tensor], torch.Tensor]
    path: ClassVar[str] = "prefix"

    def at_once(self) -> int:
        """See `Chains`."""
        return max(1, _HELD_BYTES // (4 * self.weight.numel() * self.game.x.element_size()))

    def pairs(self, rows: torch.Tensor, cycle: torch.Tensor, orders: torch.Tensor, antithetic: bool) -> torch.Tensor:
        """See `Chains`."""
        game = self.game
        x, low, high = game.x[rows], self._first_of_background[cycle], self._first_of_x[rows]
        orders = orders.long()
        steps = self._steps(x, cycle).gather(2, orders.unsqueeze(-1).expand(-1, -1, -1, high.shape[-1]))[:, :, :-1]
        sums = steps.cumsum(2)
        # Forward from the background; backwards from x, so that both ends stay what they are.
        chains = [low.unsqueeze(2) + sums]
        if antithetic:
            chains.append(high.view(len(rows), 1, 1, -1) - sums)
        values = self._rest(torch.stack(chains, 2), rows)
        ends = game.empty_at(rows, cycle), game.full[rows].unsqueeze(1)
        found = by_player(values, ends, orders)
        still = inert(game, x, cycle, (self.weight == 0).all(0))
        return found.masked_fill_(still.unsqueeze(-1), 0)

    @cached_property
    def _first_of_background(self) -> torch.Tensor:
        return self._first(self.game.background)

    @cached_property
    def _first_of_x(self) -> torch.Tensor:
        return self._first(self.game.x)

    def _first(self, rows: torch.Tensor) -> torch.Tensor:
        """(M, H) values of the first map, each row's the same whatever rows are with it."""
        return torch.stack([(self.weight * row).sum(1) for row in rows]) + self.bias

    def _steps(self, x: torch.Tensor, cycle: torch.Tensor) -> torch.Tensor:
        """(R, G, n, H): what each player adds to the first map's value."""
        change = x.unsqueeze(1) - self.game.background[cycle]  # (R, G, d)
        columns = change.unsqueeze(-1) * self.weight.t()
        if self.game.n == columns.shape[2] and bool(
            (self.game.players.labels[1:] > self.game.players.labels[:-1]).all()
        ):
            return columns
        total = columns.new_zeros(*columns.shape[:2], self.game.n, columns.shape[3])
        return total.index_add_(2, self.game.players.labels, columns)

    def _rest(self, first: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (R, G, chains, n - 1, K) float64 of values (R, G, chains, n - 1, H), in calls of one size."""
        game, flat = self.game, first.flatten(0, 3)
        batch = flat[:1].repeat(game.tile, 1) if len(flat) else flat
        found = []
        for some in flat.split(game.tile):
            batch[: len(some)] = some
            values = batch.view(len(batch), *self.shape)
            found.append(self.rest(values)[: len(some)].flatten(1).double())
        outputs = torch.cat(found)
        game.refuse_not_finite(outputs)
        outputs = outputs.view(*first.shape[:4], outputs.shape[-1])
        if game.chosen is None:
            return outputs
        return outputs.gather(4, game.chosen[rows].view(-1, 1, 1, 1, 1).expand(*outputs.shape[:4], 1))
