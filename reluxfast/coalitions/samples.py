"""What sampled units of some rows say, kept so that states of different units merge."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch

from reluxfast.coalitions.moments import Moments


@dataclass(frozen=True)
class Samples:
    """Moments of sampled units, pairs or orders, before values are made to sum to the output.

    Attributes:
        moments: of the marginals of each player.
        gain: (N, K) float64, v(N) - v(∅), what values sum to.
        cost: evaluations of a unit.
        drawn: (seed mod 2^64, number of the first unit, (N,) how many) of each run.
        labels: (d,) player of each element in the order of computation.
        background: (B, d) rows in that order.
        chosen: (N,) the explained output of each row, or None for all.
    """

    moments: Moments
    gain: torch.Tensor
    cost: int
    drawn: tuple[tuple[int, int, torch.Tensor], ...]
    labels: torch.Tensor
    background: torch.Tensor
    chosen: torch.Tensor | None

    def values(self) -> torch.Tensor:
        """(N, n, K) means that sum to the gain; NaN for rows without units.

        Where background rows were used equally often, means do so but for rounding; otherwise what is missing is
        spread in proportion to the squared standard errors.
        """
        count = self.moments.count.view(-1, 1, 1)
        values = torch.where(count > 0, self.moments.mean, math.nan)
        missing = (self.gain - values.sum(1)).unsqueeze(1)
        share = self.moments.standard_error.square()
        total = share.sum(1, keepdim=True)
        even = (values != 0).to(values.dtype)
        even = even / even.sum(1, keepdim=True).clamp_min(1)
        return values + missing * torch.where((total > 0) & total.isfinite(), share / total, even)

    @property
    def span(self) -> str:
        """Units drawn, in words."""
        runs = (f"{first} to {first + int(count.max()) - 1} of seed {seed}" for seed, first, count in self.drawn)
        return ", ".join(runs) if len(self.moments.count) else "none"

    @property
    def n_evaluations(self) -> torch.Tensor:
        """(N,) outputs of the model for each row."""
        return self.moments.count * self.cost + 1

    def merged(self, other: Samples) -> Samples:
        """Both states as one."""
        moments = copy.deepcopy(self.moments)
        moments.merge(other.moments)
        return replace(self, moments=moments, drawn=(*self.drawn, *other.drawn))

    def differs(self, other: Samples) -> str | None:
        """What of the two games is not the same, None if nothing is."""
        if not _equal(self.labels, other.labels):
            return "players"
        if not _equal(self.background, other.background):
            return "baselines"
        return None if _equal(self.chosen, other.chosen) else "target"

    def shares_units(self, other: Samples) -> bool:
        """Whether some row has units of both that were drawn with the same numbers."""
        for seed, first, count in self.drawn:
            for its_seed, its_first, its_count in other.drawn:
                begin, end = max(first, its_first), torch.minimum(first + count, its_first + its_count)
                if seed == its_seed and bool((begin < end).any()):
                    return True
        return False


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other.to(one.device))
