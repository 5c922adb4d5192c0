"""Benchmarks of games: everybody who is right passes, what is wrong is caught, and references are what they say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

import reluxfast as rx
from reluxfast import ops
from reluxfast.benchmarks.case import Conditions, at
from reluxfast.benchmarks.games import CASES, accuracy, draws, exact, networks, patches, sampled, walk
from reluxfast.benchmarks.games.providers import engine, masked
from reluxfast.benchmarks.games.search import orders_for
from reluxfast.benchmarks.problem import Unavailable, Wrong, kind_of
from reluxfast.errors import InvalidInput

TINY = Conditions(tiny=True)
POINTS = [at(case) for case in CASES.values()]
POINTS += [at(CASES["mlp30/shapley"], outputs=10), at(CASES["mlp/shapley"], dtype="float64")]


def made(name: str, **axes):
    point = at(CASES[name], **axes)
    if "cancer" in name:
        pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    return point.case.make(point.axes, TINY)


def sampled_problem(orders: int = 64, outputs: int = 1, players: int = 8, rows: int = 4) -> sampled.Sampled:
    return sampled.Sampled(networks.drawn(players, (16, 8), rows, outputs), orders, {}, tiny=True)


@pytest.fixture(params=POINTS, ids=lambda point: point.name)
def problem(request):
    if "cancer" in request.param.case.name:
        pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    return request.param.case.make(request.param.axes, TINY)


def test_everybody_passes_and_can_be_called_again(problem):
    providers = problem.providers()
    assert next(iter(providers)) == "reluxfast cpp" and problem.amount > 0 and problem.tiny
    passed = set()
    for name, provider in providers.items():
        try:
            prepared = provider(problem)
        except (Unavailable, rx.BackendUnavailable) as error:
            known = ("not installed", "one baseline row", "left out for 10 outputs")
            assert any(reason in str(error) for reason in known) or kind_of(name) == "engine", error
            continue
        values = prepared.call()
        assert (prepared.computes is None) == (kind_of(name) == "floor")
        if prepared.computes is not None:
            verdict = problem.judge(values, prepared.computes)
            assert verdict.reason is None and 0 <= verdict.error <= verdict.gate, (name, verdict)
            assert torch.equal(prepared.call(), values), name
        passed.add(name)
    assert ("reluxfast cpp" in passed) == (ops.available_backends(problem.device)["cpp"] is None)


def test_cases_are_the_ones_that_were_asked_for():
    assert {name for name in CASES if name.startswith("mlp")} == {
        *(f"mlp{n}/shapley" for n in ("", 30, 100, 784)),
        *(f"mlp{n}/exact" for n in (12, 16, 20)),
    }
    assert all(case.group == "games" and case.name == name for name, case in CASES.items())


def test_axes_say_what_is_made():
    case = CASES["mlp/shapley"]
    point = at(case, players=9, orders=6, rows=2, outputs=3, dtype="float64")
    problem = case.make(point.axes, Conditions())
    assert problem.game.x.shape == (2, 9) and problem.dtype == torch.float64 and problem.game.outputs == 3
    assert problem.amount == 2 * (6 * 8 + 1) and problem.unit == "evaluations" and not problem.tiny
    # One evaluation: 128 additions, both other layers' products and additions.
    assert problem.work().flop == problem.amount * 2 * (128 + 128 * 64 + 64 * 3)
    weights = 9 * 128 + 128 + 128 * 64 + 64 + 64 * 3 + 3
    assert problem.work().moved == 8 * (weights + 2 * 9 + 9 + 2 * 3 * 9)
    assert made("mlp12/exact").amount == 2 * 31
    with pytest.raises(InvalidInput, match="orders must be an even number"):
        at(case, orders=5)
    with pytest.raises(InvalidInput, match="dtype must be one of"):
        at(case, dtype="float16")
    with pytest.raises(InvalidInput, match=r"rows must be an integer from 1 on, got '0\.5'"):
        at(case, rows="0.5")


def test_walk_is_the_definition():
    game = networks.drawn(5, (16, 8), 3, outputs=2)
    game = replace(game, background=torch.randn(3, 5))
    drawn = draws.of_engine(3, 6, 5, 3, 0, game.x.device)
    assert torch.equal(drawn.orders[:, 1], drawn.orders[:, 0].flip(-1))
    assert torch.equal(drawn.backgrounds[:, 1], drawn.backgrounds[:, 0]) and len(drawn.backgrounds.unique()) > 1
    wide, found = game.double(), walk.walked(game, drawn)
    expected = torch.zeros(3, 2, 5, dtype=torch.float64)
    for row, number in itertools.product(range(3), range(6)):
        z = wide.background[drawn.backgrounds[row, number]].clone()
        for player in drawn.orders[row, number]:
            before = wide.model(z[None])[0]
            z[player] = wide.x[row, player]
            expected[row, :, player] += (wide.model(z[None])[0] - before) / 6
    assert torch.allclose(found, expected, rtol=0, atol=1e-13)
    by_batches = [masked.values(game, drawn, at_once) for at_once in (1, 5, 18)]
    assert all(torch.allclose(values.double(), expected, atol=1e-6) for values in by_batches)


@pytest.mark.parametrize("orders", [8, 10, 18])
def test_the_engine_walks_what_others_are_given(orders):
    game = networks.drawn(5, (16, 8), 3, outputs=2)
    game = replace(game, background=torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    drawn = masked.drawn(game, orders, 3)
    assert drawn.orders.shape == (3, orders // 8 * 8, 5)
    found = engine.sampler(game, "reference")(orders, 3)
    assert torch.allclose(found.double(), walk.walked(game, drawn), atol=1e-6)


def test_enumeration_is_the_mean_over_all_orders():
    game = networks.drawn(4, (16, 8), 2, outputs=2)
    game = replace(game, background=torch.randn(3, 4))
    every = torch.tensor(list(itertools.permutations(range(4)))).repeat(3, 1)
    met = torch.arange(3).repeat_interleave(24)
    everything = draws.Draws(every.expand(2, -1, -1), met.expand(2, -1))
    assert torch.allclose(exact.enumerated(game), walk.walked(game, everything), rtol=0, atol=1e-13)


def rms(values: torch.Tensor) -> float:
    return values.square().mean().sqrt().item()


def test_long_runs_know_their_error():
    game = networks.drawn(6, (16, 8), 8)
    truth, run = exact.enumerated(game), walk.long_run(game, 300)
    assert run.pairs == 300 and 0.75 < rms(run.values - truth) / rms(run.standard_error(300)) < 1.25
    game = replace(game, background=torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    truth, run = exact.enumerated(game), walk.long_run(game, 300)
    assert 0.75 < rms(run.values - truth) / rms(run.standard_error(300)) < 1.25
    assert walk.long_run(game, 301).pairs == 303


def test_long_runs_go_on_until_they_are_good_enough():
    game = networks.drawn(6, (16, 8), 8)
    truth = exact.enumerated(game)
    spread = truth.amax(-1, keepdim=True) - truth.amin(-1, keepdim=True)
    shares = (0.002, 0.001)
    fine = [walk.until(game, share, 1 << 14) for share in shares]
    assert 32 < fine[0].pairs < fine[1].pairs < 1 << 14 and walk.until(game, 1e-9, 100).pairs == 100
    assert all(rms((run.values - truth) / spread) < 1.5 * share for run, share in zip(fine, shares, strict=True))


def shifted(problem, by: float):
    game = problem.game
    return replace(problem, game=replace(game, background=game.background + by))


@pytest.mark.parametrize("outputs", [1, 10])
def test_wrong_values_of_sampled_orders_are_caught(outputs):
    problem = sampled_problem(outputs=outputs)
    backend = "reference"
    right = engine.sampler(problem.game, backend)(64, 0)
    reseeded = engine.sampler(problem.game, backend)(64, 5)
    for computes in (sampled.OWN, sampled.GIVEN):
        assert problem.judge(right, computes).reason is None
    # Other orders are right only for those who draw their own.
    assert problem.judge(reseeded, sampled.OWN).reason is None
    assert "along the same orders" in problem.judge(reseeded, sampled.GIVEN).reason
    other = shifted(problem, 0.5)
    wrong = {
        "another baseline": engine.sampler(other.game, backend)(64, 0),
        "shuffled players": right.roll(1, -1),
        "shuffled rows": right.roll(1, 0),
        "too few orders": engine.sampler(problem.game, backend)(2, 0),
        "nan": right * math.nan,
        "sign": -right,
    }
    if outputs > 1:
        wrong["shuffled outputs"] = right.roll(1, 1)
    for name, values in wrong.items():
        for computes in (sampled.OWN, sampled.GIVEN):
            verdict = problem.judge(values, computes)
            assert verdict.reason is not None and not verdict.error <= verdict.gate, (name, computes)
    assert "shape" in problem.judge(right[:, 0], sampled.OWN).reason
    # What rounding cannot explain.
    assert problem.judge(right * 1.0001, sampled.OWN).reason is None
    assert problem.judge(right * 1.0001, sampled.GIVEN).reason is not None


def test_the_compiled_batch_is_the_eager_one(monkeypatch):
    problem = replace(sampled_problem(orders=6, outputs=2), tiny=False)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    prepared = problem.providers()["masked batch compiled"](problem)
    assert problem.judge(prepared.call(), prepared.computes).reason is None


def test_wrong_exact_values_are_caught():
    problem = made("mlp12/exact")
    right = engine.explainer(problem.game.model, problem.game.x, "reference")
    values = right.attribute(problem.game.x, None, "shapley", baselines=problem.game.background, estimator="exact")
    values = values.values.unsqueeze(1)
    assert problem.judge(values, exact.COMPUTES).reason is None
    for wrong in (values * 1.0001, values.flip(-1), values.flip(0), values * math.nan, values.squeeze(1)):
        assert problem.judge(wrong, exact.COMPUTES).reason is not None


def of_patches(problem, **options):
    budget = problem.orders * (problem.count - 1) + 1
    options = {"estimator": "permutation", "n_evaluations": budget, "players": problem.players, **options}
    return rx.shapley(problem.model, problem.x, target=problem.target, **options).values[0]


def test_wrong_values_of_patches_are_caught():
    case = CASES["digits/patches"]
    problem = case.make(at(case).axes, Conditions()).small_copy()
    assert problem.tiny and problem.orders == 32 and problem.count == 16 and problem.amount == 32 * 15 + 2
    right = of_patches(problem)
    for computes in (patches.OWN, patches.GIVEN):
        assert problem.judge(right, computes).reason is None
    other = of_patches(problem, seed=3)
    assert problem.judge(other, patches.OWN).reason is None
    assert problem.judge(other, patches.GIVEN).reason is not None
    wrong = {
        "another baseline": of_patches(problem, baselines=torch.full_like(problem.x, 0.1)),
        "shuffled players": right.roll(1),
        "another sum": right * 1.01,
        "nan": right * math.nan,
        "shape": right[None],
    }
    for name, values in wrong.items():
        for computes in (patches.OWN, patches.GIVEN):
            assert problem.judge(values, computes).reason is not None, (name, computes)
    assert "sum to" in problem.judge(wrong["another sum"], patches.OWN).reason

    # More than rounding, with the same sum.
    moved = right + 1e-3 * right.norm() / 4 * torch.tensor([1.0, -1.0]).repeat(8)
    assert problem.judge(moved, patches.OWN).reason is None
    verdict = problem.judge(moved, patches.GIVEN)
    assert verdict.reason is not None and verdict.error == pytest.approx(1e-3, rel=1e-2)


def test_the_walk_over_patches_is_the_definition():
    problem = made("digits/patches", orders=2)
    model, x = problem.model, problem.x
    expected = torch.zeros(2, problem.count, dtype=torch.float64)
    for number, order in enumerate(problem.drawn):
        present = torch.zeros_like(problem.labels, dtype=torch.bool)
        for player in order:
            before = model(x * present)[0, problem.target]
            present |= problem.labels == player
            expected[number, player] = model(x * present)[0, problem.target] - before
    assert torch.allclose(problem.marginals, expected, atol=1e-5)


def test_the_orders_needed_are_found():
    def root(scale: float):
        asked = []

        def error(orders: int) -> float:
            asked.append(orders)
            return scale / orders**0.5

        return error, asked

    for needed in (2, 8, 16, 100, 757, 5000):
        error, asked = root(0.02 * (needed - 0.5) ** 0.5)
        orders, reached = orders_for(error, 0.02, 1 << 14)
        assert reached == error(orders) <= 0.02 and orders % 2 == 0, needed
        assert needed <= orders <= max(2, 1.11 * needed + 2) and len(asked) < 12, (needed, orders)
    error, asked = root(100.0)
    assert orders_for(error, 0.02, 64) == (64, 12.5) and asked == [16, 64]
    assert orders_for(root(1e-9)[0], 0.02, 64)[0] == 2
    # A step that the root does not foresee, as where background rows are not used equally often below it.
    orders, reached = orders_for(lambda orders: 0.01 if orders >= 64 else 0.05, 0.02, 1 << 14)
    assert reached == 0.01 and 64 <= orders <= 72


@pytest.mark.parametrize("network", [networks.trained, networks.interacting])
def test_more_orders_are_nearer_to_the_truth(network):
    if network is networks.trained:
        pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    problem = accuracy.Accuracy(network(12, 4, 1, quick=True), {"percent": 2}, tiny=True)
    sampler = engine.sampler(problem.game, "reference")

    def error(orders: int) -> float:
        return (sum(problem.error(sampler(orders, seed)) ** 2 for seed in range(4)) / 4) ** 0.5

    assert 4 < error(4) / error(256) < 16


def test_who_does_not_get_there_is_not_timed():
    problem = accuracy.Accuracy(networks.drawn(8, (16, 8), 4), {"percent": 2}, most=64)
    spread = problem.truth.amax(-1, keepdim=True) - problem.truth.amin(-1, keepdim=True)
    with pytest.raises(Unavailable, match=r"still 12 % of the range at 64 orders; 2 % are wanted"):
        problem.prepared(lambda orders, seed: problem.truth + spread / orders**0.5)
    with pytest.raises(Wrong, match=r"still 10 % of the range at 64 orders and was 10 % at 16: values are biased"):
        problem.prepared(lambda orders, seed: problem.truth + 0.1 * spread)
    asked = []

    def sampler(orders: int, seed: int) -> torch.Tensor:
        asked.append((orders, seed))
        return problem.truth.float()

    prepared = problem.prepared(sampler, "as tuned")
    assert prepared.note.startswith("2 orders, error ") and prepared.note.endswith(" of the range; as tuned")
    assert {seed for _, seed in asked} == {0, 1, 2, 3} and problem.judge(prepared.call(), "shapley").reason is None
    assert asked[-1] == (2, 0)


def test_values_that_left_the_error_wanted_are_caught():
    problem = accuracy.Accuracy(networks.drawn(8, (16, 8), 4), {"percent": 2})
    spread = problem.truth.amax(-1, keepdim=True) - problem.truth.amin(-1, keepdim=True)
    for off, passes in ((0.0, True), (0.039, True), (0.041, False), (math.nan, False)):
        verdict = problem.judge(problem.truth + off * spread, "shapley")
        assert (verdict.reason is None) == passes and verdict.gate == pytest.approx(0.04)
    assert problem.judge(problem.truth.roll(1, -1), "shapley").reason is not None
    assert problem.judge(problem.truth[:, 0], "shapley").reason is not None
    assert problem.amount == 4 and problem.unit == "rows"
