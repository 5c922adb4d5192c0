"""Chains: players join one after the other, and each gets what the output changes by."""

from __future__ import annotations

from typing import Protocol

import torch

from reluxfast.coalitions.game import Game

# Coalitions whose jobs and outputs are held at once, and calls of the model: an interrupt loses no more than these.
_JOBS, _CALLS = 1 << 16, 8


class Chains(Protocol):
    """Something that walks chains of a game.

    Attributes:
        path: what it is called in a result's options.
    """

    path: str

    def pairs(self, rows: torch.Tensor, cycle: torch.Tensor, orders: torch.Tensor, antithetic: bool) -> torch.Tensor:
        """Marginals of each player along an order, and along its reverse.

        Args:
            rows: (R,) int64 rows of the game.
            cycle: (R, G) int32 background row of each unit.
            orders: (R, G, n) int32 orders of the players.
            antithetic: whether the reverse is walked as well; the result is then the mean of both.

        Returns:
            (R, G, n, K) float32 or float64.
        """

    def at_once(self) -> int:
        """Units, of all rows together, that one call should be given."""


class WrittenChains:
    """Chains whose coalitions are written out and passed through the model.

    Args:
        game: the game.
        path: what the model is called.
    """

    def __init__(self, game: Game, path: str):
        self.game = game
        self.path = path

    def at_once(self) -> int:
        """See `Chains`."""
        jobs = max(self.game.tile, min(_JOBS, _CALLS * self.game.tile))
        return max(1, jobs // max(1, 2 * (self.game.n - 1)))

    def pairs(self, rows: torch.Tensor, cycle: torch.Tensor, orders: torch.Tensor, antithetic: bool) -> torch.Tensor:
        """See `Chains`. A reverse chain starts at x and loses players, so that both ends are shared."""
        game, n = self.game, self.game.n
        cycle, orders = cycle.long(), orders.long()  # as indices must be
        r, g = cycle.shape
        chains = 2 if antithetic else 1
        ranks = torch.empty_like(orders).scatter_(-1, orders, torch.arange(n, device=orders.device).expand_as(orders))
        ranks = torch.stack([ranks, n - 1 - ranks], 2)[:, :, :chains]
        below = torch.arange(1, n, device=orders.device)
        # Position t of the second chain has lost t players, and keeps n - t of the reversed order.
        inner = torch.stack([below, below.flip(0)])[:chains].expand(r, g, chains, -1)
        table = torch.arange(r * g * chains, device=orders.device).view(r, g, chains, 1)
        jobs = torch.stack(
            [
                rows.view(-1, 1, 1, 1).expand_as(inner),
                cycle.view(r, g, 1, 1).expand_as(inner),
                table.expand_as(inner),
                inner,
            ],
            -1,
        )
        ends = game.empty_at(rows, cycle), game.full[rows].unsqueeze(1)
        values = game.values(jobs.flatten(0, 3), ranks.flatten(0, 2).to(torch.int32))
        values = values.view(r, g, chains, n - 1, ends[1].shape[-1])
        return by_player(values, ends, orders)


def by_player(values: torch.Tensor, ends: tuple[torch.Tensor, torch.Tensor], orders: torch.Tensor) -> torch.Tensor:
    """Marginals of each player from the values along chains, the mean of both where there are two.

    Args:
        values: (R, G, chains, n - 1, K) of the forward chain at position t, when t players of the order have joined;
            and of the second chain, when the first t of the order have left.
        ends: v(∅) and v(N), which broadcast to (R, G, K).
        orders: (R, G, n) int64.

    Returns:
        (R, G, n, K).
    """
    r, g, chains, _, k = values.shape
    low, high = (end.expand(r, g, k).unsqueeze(2) for end in ends)
    marginals = torch.cat([low, values[:, :, 0], high], 2).diff(dim=2)
    if chains == 2:
        marginals = (marginals - torch.cat([high, values[:, :, 1], low], 2).diff(dim=2)) / 2
    index = orders.unsqueeze(-1).expand_as(marginals)
    return torch.empty_like(marginals).scatter_(2, index, marginals)
