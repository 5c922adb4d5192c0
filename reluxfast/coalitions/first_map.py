"""The first affine map of a network: its value at a row, and what each player adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from reluxfast.coalitions.players import Players


@dataclass(frozen=True)
class FirstMap:
    """z = W x + b.

    Attributes:
        weight: (H, d); columns in the order of a game's rows.
        bias: (H,).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    @cached_property
    def dead(self) -> torch.Tensor:
        """(d,) bool: elements that the network does not look at."""
        return (self.weight == 0).all(0)

    def values(self, rows: torch.Tensor) -> torch.Tensor:
        """(M, H) values at rows (M, d), each row's the same whatever rows are with it."""
        return torch.stack([(self.weight * row).sum(1) for row in rows]) + self.bias

    def shares(self, rows: torch.Tensor, players: Players) -> torch.Tensor:
        """(M, n, H): what the elements of each player make of W x at rows (M, d), one row at a time."""
        total = rows.new_zeros(len(rows), players.count, len(self.weight))
        for share, row in zip(total, rows, strict=True):
            share.index_add_(0, players.labels, (self.weight * row).t())
        return total


class Steps:
    """What each player adds to a first map's value on the way from a background row to a row.

    Args:
        first: the map.
        x, background: (N, d), (B, d).
        players: n of them.
    """

    def __init__(self, first: FirstMap, x: torch.Tensor, background: torch.Tensor, players: Players):
        self._first, self._x, self._background, self._players = first, x, background, players
        labels = players.labels
        self._alone = players.count == x.shape[1] and bool((labels[1:] > labels[:-1]).all())
        self._known: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, rows: torch.Tensor, backs: torch.Tensor) -> torch.Tensor:
        """(R, G, n, H) of rows (R,) with background rows (R, G)."""
        backs = backs.long()
        if self._alone:
            change = self._x[rows].unsqueeze(1) - self._background[backs]
            return change.unsqueeze(-1) * self._first.weight.t()
        # Players of several elements are summed up once for each row, not for each pair of rows.
        if self._known is None or not torch.equal(self._known[0], rows):
            self._known = rows, self._first.shares(self._x[rows], self._players)
        needed, which = backs.unique(return_inverse=True)
        return self._known[1].unsqueeze(1) - self._first.shares(self._background[needed], self._players)[which]
