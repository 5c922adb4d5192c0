"""Seconds until Shapley values are right to a stated share of their range, on trained networks.

Each provider gets, in its preparation, the number of orders at which its root-mean-square error over some seeds is the
share that is wanted; a call is then that many orders. What they are held against: every coalition where there are at
most 12 players, else a long run in float64 whose own error is a third of the one wanted, which makes errors
look 5 % larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from reluxfast.benchmarks.case import Case, Conditions
from reluxfast.benchmarks.games import walk
from reluxfast.benchmarks.games.exact import enumerated
from reluxfast.benchmarks.games.networks import TEST_ROWS, Game, interacting, trained
from reluxfast.benchmarks.games.providers import engine, masked, peers
from reluxfast.benchmarks.games.providers.sampler import Sampler
from reluxfast.benchmarks.games.search import orders_for
from reluxfast.benchmarks.problem import (
    Axes,
    Prepared,
    Problem,
    Provider,
    ProviderTable,
    Unavailable,
    Verdict,
    Wrong,
    compared_on,
)
from reluxfast.errors import InvalidInput

COMPUTES = "shapley"
SEEDS = 4
_EXACT_UP_TO = 12
# Largest number of orders of a provider, and of pairs of the long run.
MOST_ORDERS = 1 << 14
_MOST_PAIRS = 1 << 15


# What four times as many orders leave of an error at the most: half of it is expected, all of a bias.
_FALLS = 0.75


@dataclass(eq=False)
class Accuracy(Problem):
    """Rows of a trained network, and the error that their values may have.

    Attributes:
        game: the network, its rows and background rows.
        axes: "rows", "percent".
        most: largest number of orders that a provider may take.
        tiny, seed: see `Conditions`.
    """

    game: Game
    axes: Axes
    most: int = MOST_ORDERS
    tiny: bool = False
    seed: int = 0
    unit: str = "rows"

    @property
    def x(self) -> Tensor:
        """The rows of the game, (N, d)."""
        return self.game.x

    @property
    def wanted(self) -> float:
        """Root-mean-square error over rows and players as a share of each row's range of values."""
        return self.axes["percent"] / 100

    @property
    def amount(self) -> int:
        """Rows explained: how many evaluations that takes differs from provider to provider."""
        return len(self.game.x)

    def providers(self) -> Mapping[str, Provider]:
        """See `PROVIDERS`."""
        return compared_on(self.device, PROVIDERS)

    @cached_property
    def truth(self) -> Tensor:
        """(N, 1, d) float64."""
        if self.game.players <= _EXACT_UP_TO:
            return enumerated(self.game)
        return walk.until(self.game, self.wanted / 3, _MOST_PAIRS, seed=99 + self.seed).values

    def error(self, values: Tensor) -> float:
        """Root-mean-square distance from the truth as a share of each row's range of values."""
        spread = self.truth.amax(-1, keepdim=True) - self.truth.amin(-1, keepdim=True)
        return ((values.to(self.truth) - self.truth) / spread).square().mean().sqrt().item()

    def judge(self, values: Tensor, computes: str) -> Verdict:
        """Of a call, whose seed is one of those of the preparation.

        The mean over the seeds of the squared error is at most that of the error wanted, so that one of them alone has
        at most √seeds times it: beyond, values are not those of the preparation.
        """
        gate, measure = SEEDS**0.5 * self.wanted, "of the range"
        if misshapen := Verdict.misshapen(values, self.truth, gate, measure):
            return misshapen
        error = self.error(values)
        if error <= gate:
            return Verdict(error, gate, measure)
        reason = f"error {100 * error:.1f} % of the range, above {100 * gate:g} %"
        return Verdict(error if math.isfinite(error) else math.inf, gate, measure, reason=reason)

    def prepared(self, sampler: Sampler, note: str = "") -> Prepared:
        """A sampler with as many orders as it needs.

        Raises:
            Unavailable: the largest number is not enough.
            Wrong: nor would more be: the error does not fall with the number of orders.
        """

        def error(orders: int) -> float:
            squares = [self.error(sampler(orders, self.seed + i)) ** 2 for i in range(SEEDS)]
            return (sum(squares) / SEEDS) ** 0.5

        orders, reached = orders_for(error, self.wanted, self.most)
        if not math.isfinite(reached):
            raise Wrong(f"values of {orders} orders are not finite")
        if not reached <= self.wanted:
            said = f"its error is still {100 * reached:.2g} % of the range at {orders} orders"
            fewer = max(2, orders // 4 // 2 * 2)
            before = error(fewer)
            if not reached < _FALLS * before:
                raise Wrong(f"{said} and was {100 * before:.2g} % at {fewer}: values are biased")
            raise Unavailable(f"{said}; {100 * self.wanted:g} % are wanted")
        found = f"{orders} orders, error {100 * reached:.2g} % of the range"
        return Prepared(partial(sampler, orders, self.seed), COMPUTES, f"{found}; {note}" if note else found)


def _engine(problem: Accuracy, backend: str) -> Prepared:
    return problem.prepared(engine.sampler(problem.game, backend))


def _masked(problem: Accuracy) -> Prepared:
    game = problem.game
    at_once = masked.tuned(game, masked.drawn(game, 32, 0))

    def sampler(orders: int, seed: int) -> Tensor:
        return masked.values(game, masked.drawn(game, orders, seed), at_once)

    return problem.prepared(sampler, f"{at_once} orders a batch")


def _captum(problem: Accuracy) -> Prepared:
    best = peers.best_perturbations(problem.game)
    return problem.prepared(peers.captum(problem.game, best), f"perturbations_per_eval={best}")


def _shap(problem: Accuracy) -> Prepared:
    return problem.prepared(peers.shap_permutation(problem.game))


# Where who is compared, in the order of the table.
PROVIDERS: ProviderTable = {
    "reluxfast cuda": (("cuda",), partial(_engine, backend="cuda")),
    "reluxfast triton": (("cuda",), partial(_engine, backend="triton")),
    "reluxfast cpp": (("cpu",), partial(_engine, backend="cpp")),
    "masked batch": (("cpu", "cuda"), _masked),
    "captum tuned": (("cpu", "cuda"), _captum),
    "shap permutation": (("cpu",), _shap),
}


def make(
    axes: Axes, conditions: Conditions, *, network: Callable[..., Game], players: int, backgrounds: int
) -> Accuracy:
    """A network trained here and now, on the CPU, and then moved; axes: "rows", "percent"."""
    if conditions.tiny:
        axes = {**axes, "rows": min(axes["rows"], 4), "percent": 10}
    game = network(players, axes["rows"], backgrounds, conditions.tiny, conditions.seed)
    game = game.to(conditions.device, torch.float32)
    problem = Accuracy(game, axes, tiny=conditions.tiny, seed=conditions.seed)
    _ = problem.truth  # it is no part of any provider's preparation
    return problem


def _case(name: str, network: Callable[..., Game], players: int, rows: int, backgrounds: int = 1) -> Case:
    behind = f" background{backgrounds}" if backgrounds > 1 else ""
    about = f"time until Shapley values are right, {players} players, {backgrounds} background row(s)"
    axes: dict[str, int | str] = {"rows": rows, "percent": 2}
    how = {"network": network, "players": players, "backgrounds": backgrounds}
    return Case(
        f"accuracy/{name}{players}{behind}",
        "games",
        about,
        axes,
        partial(make, **how),
        partial(_check, network=network),
    )


def _check(axes: Axes, network: Callable[..., Game]) -> None:
    if network is trained and axes["rows"] > TEST_ROWS:
        raise InvalidInput(
            "rows", f"must be at most {TEST_ROWS}, the rows of the data that are not trained on", axes["rows"]
        )


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        _case("cancer", trained, 12, 64),
        _case("cancer", trained, 30, 64),
        _case("cancer", trained, 30, 16, 32),
        _case("products", interacting, 12, 16),
        _case("products", interacting, 30, 16),
        _case("products", interacting, 30, 16, 32),
    )
}
