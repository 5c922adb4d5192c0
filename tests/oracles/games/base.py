"""What every game offers: a model, the row it explains, and the exact answer."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from tests.oracles.coalitions import Array


class Game(ABC):
    """A model `(M, n)` -> `(M, K)` on numpy rows, its row `x` `(n,)`, `baseline` and exact Shapley values.

    `baseline` is `(n,)`; games that say so also take `(B, n)`, a background set whose values are averaged.
    """

    x: Array
    baseline: Array

    @property
    def n(self) -> int:
        """The number of players, one per element."""
        return len(self.x)

    @property
    def background(self) -> Array:
        """`baseline` as `(B, n)`."""
        return np.atleast_2d(self.baseline)

    @abstractmethod
    def __call__(self, rows: Array) -> Array:
        """`(M, n)` -> `(M, K)`, float64."""

    @abstractmethod
    def shapley(self) -> Array:
        """`(n, K)`, float64."""


class Indicator(Game):
    """A game of coalitions by themselves: an element is 1 where its player is present and 0 where it is absent."""

    @property
    @abstractmethod
    def n(self) -> int:
        """The number of players."""

    @property
    def x(self) -> Array:
        return np.ones(self.n)

    @property
    def baseline(self) -> Array:
        return np.zeros(self.n)


def on_tensors(game: Game, rows: Tensor) -> Tensor:
    """A game as a model of torch: `(M, n)` of any float dtype -> `(M, K)` of the same, computed in float64."""
    return torch.from_numpy(game(rows.detach().cpu().double().numpy())).to(rows)
