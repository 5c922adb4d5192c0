"""Networks with closed-form Shapley values: linear, sums of unanimity games, one hidden ReLU layer on integers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import nn

from tests.oracles.coalitions import Array
from tests.oracles.games.base import Game, Indicator
from tests.oracles.games.counting import shapley_of_sums


class Network(Game):
    """A game that is an affine map, or two with a ReLU between them; its random instances are exact in float32."""

    @abstractmethod
    def layers(self) -> list[tuple[Array, Array]]:
        """Weight `(out, in)` and bias `(out,)` of each affine map."""

    def __call__(self, rows: Array) -> Array:
        h = np.asarray(rows, dtype=np.float64)
        for depth, (weight, bias) in enumerate(self.layers()):
            h = (np.maximum(h, 0) if depth else h) @ weight.T + bias
        return h

    def module(self) -> nn.Sequential:
        """The same network in torch, float32, in eval mode."""
        parts: list[nn.Module] = []
        for depth, (weight, bias) in enumerate(self.layers()):
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
            parts += [nn.ReLU(), linear] if depth else [linear]
        return nn.Sequential(*parts).eval()


def _eighths(rng: Generator, *shape: int) -> Array:
    return rng.integers(-16, 17, size=shape) / 8


@dataclass(frozen=True, eq=False)
class Linear(Network):
    """`Wx + c`: `φ_i = w_i (x_i - b_i)`.

    Attributes:
        weight: `(K, n)`; bias: `(K,)`.
        x: `(n,)`; baseline: `(n,)` or `(B, n)`.
    """

    weight: Array
    bias: Array
    x: Array
    baseline: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> Linear:
        return cls(_eighths(rng, 2, n), _eighths(rng, 2), _eighths(rng, n), _eighths(rng, n))

    def layers(self) -> list[tuple[Array, Array]]:
        return [(self.weight, self.bias)]

    def shapley(self) -> Array:
        return (self.weight * (self.x - self.background.mean(0))).T


@dataclass(frozen=True, eq=False)
class Unanimity(Indicator, Network):
    """`v(S) = Σ_T c_T 1[T ⊆ S]`: `φ_i = Σ_{T∋i} c_T/|T|`.

    Attributes:
        sets: `(H, n)` booleans, the sets T, none empty.
        weights: `(K, H)`, c.
    """

    sets: np.ndarray
    weights: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> Unanimity:
        """Twelve sets, each of a size drawn from 1..n."""
        sizes = rng.integers(1, n + 1, size=12)
        sets = np.array([rng.permutation(n) < size for size in sizes])
        return cls(sets, _eighths(rng, 2, 12))

    @property
    def n(self) -> int:
        return self.sets.shape[1]

    def layers(self) -> list[tuple[Array, Array]]:
        """A unit counts the members of T that are there and fires, with 1, where none is missing."""
        return [(self.sets.astype(np.float64), 1.0 - self.sets.sum(1)), (self.weights, np.zeros(len(self.weights)))]

    def shapley(self) -> Array:
        return (self.sets / self.sets.sum(1, keepdims=True)).T @ self.weights.T


@dataclass(frozen=True, eq=False)
class IntegerLayer(Network):
    """`V relu(Wx + c)` where `W ⊙ (x - b)` is integer: a unit's game is one of the coalition's size and sum alone.

    Attributes:
        weight: `(H, n)`, n <= 66; bias: `(H,)`, of any value; output: `(K, H)`.
        x: `(n,)`; baseline: `(n,)` or `(B, n)`.
    """

    weight: Array
    bias: Array
    output: Array
    x: Array
    baseline: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> IntegerLayer:
        weight, x = rng.integers(-3, 4, size=(6, n)), rng.integers(-1, 3, size=n)
        baseline = x + rng.choice([-1, 0, 1], size=n)
        # The kink lies at a coalition's sum; half way from b to x it would be even in S, and an antithetic pair exact.
        kink = (weight * np.where(rng.random((6, n)) < rng.random((6, 1)), x, baseline)).sum(1)
        return cls(weight * 1.0, -1.0 * kink, _eighths(rng, 2, 6), x * 1.0, baseline * 1.0)

    def layers(self) -> list[tuple[Array, Array]]:
        return [(self.weight, self.bias), (self.output, np.zeros(len(self.output)))]

    def shapley(self) -> Array:
        return np.mean([self._against(row) for row in self.background], axis=0)

    def _against(self, baseline: Array) -> Array:
        """`(n, K)` with one background row."""
        steps = self.weight * (self.x - baseline)
        if not np.array_equal(steps, np.round(steps)):
            raise ValueError(f"weight * (x - baseline) must be integer: round weight, x and baseline, got {steps}")
        units = np.zeros(self.weight.shape)
        for h, start in enumerate(self.weight @ baseline + self.bias):
            units[h] = shapley_of_sums(steps[h].astype(np.int64), lambda t, z=start: np.maximum(z + t, 0))
        return units.T @ self.output.T
