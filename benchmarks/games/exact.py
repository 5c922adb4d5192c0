"""Exact Shapley values of perceptrons: everybody evaluates every coalition.

Values are held against an enumeration in float64 that writes every masked input and sums marginals by the definition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from reluxfast.benchmarks.case import Case, Conditions, one_of
from reluxfast.benchmarks.games.networks import Game, drawn
from reluxfast.benchmarks.games.providers import engine, peers, sgemm
from reluxfast.benchmarks.games.sampled import DTYPES
from reluxfast.benchmarks.problem import (
    Axes,
    Prepared,
    Problem,
    Provider,
    ProviderTable,
    Unavailable,
    Verdict,
    Work,
    compared_on,
)
from reluxfast.benchmarks.tuning import fastest

COMPUTES = "shapley, every coalition"
# Largest distance as a share of the largest value.
GATES = {torch.float32: 1e-5, torch.float64: 1e-11}
_COALITIONS_AT_ONCE = (1024, 4096, 16_384)
# Largest number of players of shap's explainer: beyond, it takes seconds for a row.
_SHAP_PLAYERS = 12


@torch.no_grad()
def enumerated(game: Game) -> Tensor:
    """φ_i = Σ_{S∌i} s!(n - s - 1)!/n! · [v(S∪i) - v(S)] in float64, v the mean over background rows; (N, K, n)."""
    game, n = game.double(), game.players
    masks = _masks(n, game.x.device)
    size = masks.sum(1)
    weight = torch.tensor([1 / (n * math.comb(n - 1, s)) for s in range(n)], dtype=torch.float64)
    weight = weight.to(masks.device)[size.clamp_max(n - 1)]
    found = game.x.new_empty(len(game.x), game.outputs, n)
    for row, values in zip(game.x, found, strict=True):
        v = sum(_outputs(game, row, back, masks) for back in game.background) / len(game.background)
        for player in range(n):
            # Coalitions with and without this player lie 2^player apart.
            without, joined = v.view(-1, 2, 2**player, game.outputs).unbind(1)
            share = weight.view(-1, 2, 2**player)[:, 0]
            values[:, player] = (share.unsqueeze(-1) * (joined - without)).sum((0, 1))
    return found


def _outputs(game: Game, row: Tensor, back: Tensor, masks: Tensor) -> Tensor:
    """v (2^n, K) of one row and background row."""
    return torch.cat([game.model(torch.where(some, row, back)) for some in masks.split(_COALITIONS_AT_ONCE[0])])


def _masks(n: int, device: torch.device) -> Tensor:
    """(2^n, n): whether player i is in coalition S, bit i of its number."""
    return (torch.arange(2**n, device=device).unsqueeze(1) >> torch.arange(n, device=device) & 1).bool()


@dataclass(eq=False)
class Exact(Problem):
    """Rows of a perceptron; see `Problem`."""

    game: Game
    axes: Axes
    tiny: bool = False
    unit: str = "evaluations"

    @property
    def x(self) -> Tensor:
        """The rows of the game, (N, d)."""
        return self.game.x

    @property
    def amount(self) -> int:
        """All coalitions but the empty one, of each row."""
        return len(self.game.x) * (2**self.game.players - 1)

    def providers(self) -> Mapping[str, Provider]:
        """See `PROVIDERS`."""
        return compared_on(self.device, PROVIDERS)

    def work(self) -> Work:
        """One kernel that adds two tables of first-layer values."""
        return Work(((self.game.flop(self.amount), self.game.moved()),), "sums of two tables for the first layer")

    @cached_property
    def expected(self) -> Tensor:
        """(N, 1, n) float64."""
        return enumerated(self.game)

    def judge(self, values: Tensor, computes: str) -> Verdict:
        """Largest distance from the enumeration as a share of the largest value."""
        gate, measure = GATES[self.dtype], "of the largest value"
        if misshapen := Verdict.misshapen(values, self.expected, gate, measure):
            return misshapen
        error = ((values.to(self.expected) - self.expected).abs().max() / self.expected.abs().max()).item()
        if error <= gate:
            return Verdict(error, gate, measure)
        reason = f"off by {error:.1e} of the largest value, above {gate:.0e}"
        return Verdict(error if math.isfinite(error) else math.inf, gate, measure, reason=reason)


def _engine(problem: Exact, backend: str) -> Prepared:
    game = problem.game
    captured = engine.explainer(game.model, game.x, backend)
    options = {"baselines": game.background, "estimator": "exact", "n_evaluations": 1 << 30}

    def call() -> Tensor:
        return captured.attribute(game.x, None, "shapley", **options).values.unsqueeze(1)

    return Prepared(call, COMPUTES)


def _masked(problem: Exact) -> Prepared:
    """Masks and the share of every coalition in every value are there before; a row is then one product."""
    game, n = problem.game, problem.game.players
    masks = _masks(n, problem.device)
    size = masks.sum(1, keepdim=True)
    weight = torch.tensor([1 / (n * math.comb(n - 1, s)) for s in range(n)], dtype=torch.float64).to(problem.device)
    shares = torch.where(masks, weight[(size - 1).clamp_min(0)], -weight[size.clamp_max(n - 1)])

    @torch.no_grad()
    def values(at_once: int) -> Tensor:
        found = []
        for row in game.x:
            parts = [game.model(torch.where(some, row, game.background)) for some in masks.split(at_once)]
            found.append(torch.cat(parts).double().T @ shares)
        return torch.stack(found)

    best = fastest(values, _COALITIONS_AT_ONCE, problem.device)
    return Prepared(partial(values, best), COMPUTES, f"{best} coalitions a batch")


def _shap(problem: Exact) -> Prepared:
    if problem.game.players > _SHAP_PLAYERS:
        players = problem.game.players
        raise Unavailable(f"left out beyond {_SHAP_PLAYERS} players, got {players}: it takes seconds for a row")
    return Prepared(peers.shap_exact(problem.game), COMPUTES)


def _sgemm(problem: Exact) -> Prepared:
    return sgemm.prepare(problem.game, problem.work().flop)


# Where who is compared, in the order of the table.
PROVIDERS: ProviderTable = {
    "reluxfast cuda": (("cuda",), partial(_engine, backend="cuda")),
    "reluxfast triton": (("cuda",), partial(_engine, backend="triton")),
    "reluxfast cpp": (("cpu",), partial(_engine, backend="cpp")),
    "reluxfast reference": (("cpu", "cuda"), partial(_engine, backend="reference")),
    "masked batch": (("cpu", "cuda"), _masked),
    "shap exact": (("cpu",), _shap),
    "sgemm": (("cpu", "cuda"), _sgemm),
}


def make(axes: Axes, conditions: Conditions, *, players: int) -> Exact:
    """Weights, rows and a background row drawn from the seed, the same for every device; axes: "rows", "dtype"."""
    hidden = (128, 64)
    if conditions.tiny:
        axes, players, hidden = {**axes, "rows": 2}, 5, (16, 8)
    game = drawn(players, hidden, axes["rows"], seed=conditions.seed)
    return Exact(game.to(conditions.device, DTYPES[axes["dtype"]]), axes, conditions.tiny)


def _case(players: int, rows: int) -> Case:
    about = f"exact Shapley values of the inputs of a {players}-128-64 perceptron"
    axes = {"rows": rows, "dtype": "float32"}
    return Case(f"mlp{players}/exact", "games", about, axes, partial(make, players=players), _check)


def _check(axes: Axes) -> None:
    one_of("dtype", DTYPES, axes["dtype"])


CASES: dict[str, Case] = {case.name: case for case in (_case(12, 64), _case(16, 4), _case(20, 1))}
