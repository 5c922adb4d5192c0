"""Set functions with closed forms: models that only know present from absent, for samplers that only evaluate."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tests.oracles.coalitions import Array
from tests.oracles.games.base import Indicator
from tests.oracles.games.counting import Integers, shapley_of_sums


class SetFunction(Indicator):
    """A game of one output by the value of each coalition."""

    def __call__(self, rows: Array) -> Array:
        return np.asarray(self.value(np.asarray(rows) > 0.5), dtype=np.float64)[:, None]

    @abstractmethod
    def value(self, present: np.ndarray) -> np.ndarray:
        """`(M, n)` booleans -> `(M,)`, numbers or booleans."""


@dataclass(frozen=True, eq=False)
class Quadratic(SetFunction):
    """`v(S) = Σ_{i∈S} l_i + Σ_{i<j∈S} q_ij`, so one antithetic pair is exact: `φ_i = l_i + ½ Σ_j q_ij`.

    Attributes:
        linear: `(n,)`.
        pairs: `(n, n)`, symmetric with a zero diagonal.
    """

    linear: Array
    pairs: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> Quadratic:
        upper = np.triu(rng.normal(size=(n, n)), 1)
        return cls(rng.normal(size=n), upper + upper.T)

    @property
    def n(self) -> int:
        return len(self.linear)

    def value(self, present: np.ndarray) -> np.ndarray:
        z = present.astype(np.float64)
        return z @ self.linear + ((z @ self.pairs) * z).sum(1) / 2

    def shapley(self) -> Array:
        return (self.linear + self.pairs.sum(1) / 2)[:, None]


@dataclass(frozen=True)
class Glove(SetFunction):
    """One left glove, r right ones, a pair is worth 1: the left `r/(r+1)`, each right `1/(r(r+1))`.

    Attributes:
        right: r >= 0.
        left: the index of the left glove's owner.
    """

    right: int
    left: int = 0

    @property
    def n(self) -> int:
        return self.right + 1

    def value(self, present: np.ndarray) -> np.ndarray:
        return present[:, self.left] & (present.sum(1) > 1)

    def shapley(self) -> Array:
        r = self.right
        values = np.full((r + 1, 1), 1 / (r * (r + 1)) if r else 0.0)
        values[self.left] = r / (r + 1)
        return values


@dataclass(frozen=True, eq=False)
class Voting(SetFunction):
    """`v(S) = 1[Σ_{i∈S} w_i >= quota]`: the Shapley-Shubik index, from the coalitions in which i is pivotal.

    Attributes:
        quota: an integer > 0.
        weights: `(n,)` integers >= 0, n <= 66.
    """

    quota: int
    weights: Integers

    @classmethod
    def random(cls, rng: Generator, n: int) -> Voting:
        weights = rng.integers(0, 10, size=n)
        return cls(int(weights.sum()) // 2 + 1, weights)

    @property
    def n(self) -> int:
        return len(self.weights)

    def value(self, present: np.ndarray) -> np.ndarray:
        return present @ self.weights >= self.quota

    def shapley(self) -> Array:
        return shapley_of_sums(self.weights, lambda total: total >= self.quota)[:, None]


# Five vetoes and four of the ten others: a permanent member weighs more than all others can make up for.
SECURITY_COUNCIL = Voting(39, np.array([7] * 5 + [1] * 10))


@dataclass(frozen=True, eq=False)
class Airport(SetFunction):
    """`v(S) = max_{i∈S} a_i`, `v(∅) = 0`; a ascending, `a_0 = 0`: `φ_i = Σ_{k<=i} (a_k - a_{k-1})/(n-k+1)`.

    Attributes:
        costs: `(n,)`, >= 0, in any order (Littlechild & Owen 1973).
    """

    costs: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> Airport:
        return cls(rng.uniform(0, 10, size=n))

    @property
    def n(self) -> int:
        return len(self.costs)

    def value(self, present: np.ndarray) -> np.ndarray:
        return np.where(present, self.costs, 0.0).max(1)

    def shapley(self) -> Array:
        order = np.argsort(self.costs)
        users = np.arange(self.n, 0, -1)
        values = np.zeros((self.n, 1))
        values[order, 0] = np.cumsum(np.diff(self.costs[order], prepend=0.0) / users)
        return values


@dataclass(frozen=True, eq=False)
class Minimum(SetFunction):
    """`v(S) = min_{i∈S} a_i`, `v(∅) = 0`; a ascending: `φ_i = a_n/n - Σ_{k=i}^{n-1} (a_{k+1} - a_k)/k`.

    Attributes:
        amounts: `(n,)`, in any order.
    """

    amounts: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> Minimum:
        return cls(rng.uniform(-5, 10, size=n))

    @property
    def n(self) -> int:
        return len(self.amounts)

    def value(self, present: np.ndarray) -> np.ndarray:
        return np.where(present.any(1), np.where(present, self.amounts, np.inf).min(1), 0.0)

    def shapley(self) -> Array:
        n, order = self.n, np.argsort(self.amounts)
        ascending = self.amounts[order]
        steps = np.append(np.diff(ascending) / np.arange(1, n), 0.0)
        values = np.zeros((n, 1))
        values[order, 0] = ascending[-1] / n - np.cumsum(steps[::-1])[::-1]
        return values


@dataclass(frozen=True, eq=False)
class Product(SetFunction):
    """`v(S) = Π_{j∈S} (1 + a_j)`: interactions of every order, `φ_i = a_i ∫₀¹ Π_{j≠i} (1 + t a_j) dt`.

    The integrand has degree n-1, for which ⌈n/2⌉ nodes of Gauss and Legendre are exact.

    Attributes:
        factors: `(n,)`, a.
    """

    factors: Array

    @classmethod
    def random(cls, rng: Generator, n: int) -> Product:
        return cls(rng.uniform(-0.5, 0.5, size=n))

    @property
    def n(self) -> int:
        return len(self.factors)

    def value(self, present: np.ndarray) -> np.ndarray:
        return np.where(present, 1 + self.factors, 1.0).prod(1)

    def shapley(self) -> Array:
        points, weights = np.polynomial.legendre.leggauss((self.n + 1) // 2)
        terms = np.broadcast_to(1 + (points[:, None] + 1) / 2 * self.factors, (self.n, len(points), self.n))
        others = np.where(np.eye(self.n, dtype=bool)[:, None], 1.0, terms).prod(2)
        return (self.factors * (others @ weights) / 2)[:, None]
