"""Count, mean and sum of squared deviations of vectors that come one after the other."""

from __future__ import annotations

import math

import torch

from reluxfast import ops


class Moments:
    """Moments of sampled units, row by row, in float64 (Welford 1962).

    Units are added in their order, one by one, so that the bits do not depend on how they were batched.

    Attributes:
        count: (N,) int64 number of units of each row.
        mean: (N, n, K).
        m2: (N, n, K) sums of squared deviations from the mean.
    """

    def __init__(self, rows: int, players: int, outputs: int, device: torch.device):
        self.count = torch.zeros(rows, dtype=torch.int64, device=device)
        self.mean = torch.zeros(rows, players, outputs, dtype=torch.float64, device=device)
        self.m2 = torch.zeros_like(self.mean)

    def add(self, rows: torch.Tensor, units: torch.Tensor) -> None:
        """Adds units (R, G, n, K), float32 or float64, of distinct rows (R,) in the order of dimension 1."""
        ops.accumulate_moments_(self.count, self.mean, self.m2, rows, units)

    def merge(self, other: Moments) -> None:
        """Adds all units of `other`, of the same rows (Chan, Golub and LeVeque 1979); equal up to rounding."""
        ours, theirs = (m.count.double().view(-1, 1, 1) for m in (self, other))
        both = (ours + theirs).clamp_min(1)
        deviation = other.mean - self.mean
        self.mean += deviation * (theirs / both)
        self.m2 += other.m2 + deviation.square() * (ours * theirs / both)
        self.count += other.count

    @property
    def standard_error(self) -> torch.Tensor:
        """(N, n, K) standard errors of the means, sd / √count with divisor count - 1; NaN below two units.

        0 for a single player, who gets everything in every unit.
        """
        if self.mean.shape[1] == 1:
            return torch.zeros_like(self.mean)
        count = self.count.double().view(-1, 1, 1)
        known = (self.m2 / (count - 1) / count).sqrt()
        return torch.where(count > 1, known, math.nan)
