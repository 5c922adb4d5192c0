"""The first affine map of a network: its value at a row, and what each player adds to it."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def dead(self) -> torch.Tensor:
        """(d,) bool: elements that the network does not look at."""
        return (self.weight == 0).all(0)

    def values(self, rows: torch.Tensor) -> torch.Tensor:
        """(M, H) values at rows (M, d), each row's the same whatever rows are with it."""
        return torch.stack([(self.weight * row).sum(1) for row in rows]) + self.bias

    def steps(self, change: torch.Tensor, players: Players) -> torch.Tensor:
        """(..., n, H): what each player adds to the value when its elements change by `change` (..., d)."""
        columns = change.unsqueeze(-1) * self.weight.t()
        if players.count == change.shape[-1] and bool((players.labels[1:] > players.labels[:-1]).all()):
            return columns
        total = columns.new_zeros(*change.shape[:-1], players.count, columns.shape[-1])
        return total.index_add_(-2, players.labels, columns)
