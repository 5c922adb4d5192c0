"""Players: which elements of an input are present or absent together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Players:
    """The players of a game.

    Attributes:
        labels: (d,) int32, the player of each element of a row, in [0, count); every player owns an element.
        count: number of players n.
    """

    labels: torch.Tensor
    count: int

    @staticmethod
    def of(named: torch.Tensor) -> Players:
        """Players from any integers (d,) that name them: numbered 0.. in ascending order of their names."""
        names, labels = named.unique(sorted=True, return_inverse=True)
        return Players(labels.to(torch.int32), len(names))

    @staticmethod
    def each(numbers: torch.Tensor) -> Players:
        """Every element a player of its own, by different numbers (d,) from 0 on."""
        return Players(numbers.to(torch.int32), len(numbers))

    @cached_property
    def members(self) -> torch.Tensor:
        """(d,) int32: elements sorted by player, in order within one."""
        return self.labels.sort(stable=True).indices.to(torch.int32)

    @cached_property
    def starts(self) -> torch.Tensor:
        """(n + 1,) int32: player i owns members[starts[i] : starts[i + 1]]."""
        sizes = torch.bincount(self.labels, minlength=self.count)
        return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).to(torch.int32)
