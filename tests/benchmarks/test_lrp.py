"""LRP beside its peers: right ones pass the gate, wrong ones are listed, references agree with each other."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch

import reluxfast as rx
from benchmarks import float64, lrp, lrp_providers, models, runner
from benchmarks.cases import CASES, make_problem
from benchmarks.gate import Standard
from benchmarks.lrp_providers import COMPOSITES, PROVIDERS, arguments_of
from benchmarks.providers import Prepared, providers_on
from reluxfast.composites import Layer, composite

CPU = providers_on(torch.device("cpu"), PROVIDERS)
ENGINE = [name for name in CPU if name.startswith("reluxfast")]
PEERS = {"captum": [n for n in CPU if n.startswith("captum")], "zennit": [n for n in CPU if n.startswith("zennit")]}

needs = {
    peer: pytest.mark.skipif(importlib.util.find_spec(peer) is None, reason=f"{peer} is not installed")
    for peer in PEERS
}


def problem(name: str, **options):
    return make_problem(CASES[name], 2, tiny=True, merged_eps=True, **options)


@cache
def truth(case: str, name: str) -> torch.Tensor:
    """What `lrp` computes anew for each problem; those of one case here are all alike."""
    return lrp.by_matrices(problem(case), name)


STANDARD = Standard(lambda p, name: truth(p.case.name, name), lrp.GATES, lrp.SMALL_GATES)


def status(problem, name: str, *providers: str) -> dict[str, str]:
    chosen = {provider: PROVIDERS[provider] for provider in providers}
    return {o.provider: o.status for o in runner.run(problem, name, chosen, 1, STANDARD)}


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("case", ["digits", "resnet18"])
def test_references_agree_with_each_other(case, name):
    """Explicit matrices against the engine's float64: two programs, one definition."""
    p = problem(case)
    by_matrices, by_engine = truth(case, name), lrp.by_engine(p, name)
    assert by_matrices.dtype == by_engine.dtype == torch.float64 and by_engine.shape == p.x.shape
    # sums of float64 through 20 layers of a network that amplifies them: at most 2e-13 seen
    assert float64.relative_l2(by_engine, by_matrices) < 1e-11


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("functional", [False, True])
def test_the_engine_passes_on_a_residual_network(name, functional):
    assert set(status(problem("resnet18", functional=functional), name, *ENGINE).values()) == {"ok"}


@needs["zennit"]
@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("case", ["digits", "resnet18"])
def test_zennit_passes(case, name):
    assert set(status(problem(case), name, *PEERS["zennit"]).values()) == {"ok"}


def test_without_zennit_its_rows_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "zennit.rules", None)
    lrp_providers._zennit.cache_clear()
    (outcome,) = runner.run(problem("digits"), "epsilon", {"zennit": PROVIDERS["zennit"]}, 1, STANDARD)
    lrp_providers._zennit.cache_clear()
    assert outcome.status == "unavailable" and "pip install --no-deps zennit" in outcome.reason


@needs["captum"]
def test_captum_is_wrong_at_residual_additions_unless_modules_add():
    found = status(problem("resnet18"), "epsilon", *PEERS["captum"])
    assert found == {
        "captum": "wrong",
        "captum channels_last": "wrong",
        "captum additions": "ok",
        "captum additions channels_last": "ok",
    }
    found = status(problem("digits"), "epsilon", *PEERS["captum"])
    assert found["captum"] == found["captum channels_last"] == "ok"
    assert found["captum additions"] == "unavailable"


@needs["captum"]
@pytest.mark.parametrize("name", [c for c in COMPOSITES if c != "epsilon"])
def test_captum_is_not_asked_for_rules_that_it_lacks(name):
    assert set(status(problem("digits"), name, *PEERS["captum"]).values()) == {"unavailable"}


@pytest.mark.parametrize("name", COMPOSITES)
def test_every_other_composite_is_wrong(name):
    """The gates tell rules apart, those of whole networks included."""
    p = problem("resnet18")
    for other in (*COMPOSITES, "epsilon_plus_flat", "alpha1_beta0"):
        if other != name:
            error = float64.relative_l2(relevance(p, other), truth("resnet18", name))
            assert error > 2 * max(lrp.GATES[name], lrp.SMALL_GATES[name]), other


def relevance(p, name: str, **changed) -> torch.Tensor:
    chosen = composite(name, **arguments_of(p, name), **changed)
    return rx.attribute(p.model, p.x, p.target, "lrp", composite=chosen).values


@pytest.mark.parametrize("name", COMPOSITES)
def test_another_gamma_or_epsilon_is_wrong(name):
    p = problem("resnet18")
    values = relevance(p, name, **({"gamma": 0.3} if name == "epsilon_gamma_box" else {"epsilon": 1e-1}))
    (outcome,) = runner.run(p, name, {"it": lambda p, name: Prepared(lambda: values, name)}, 1, STANDARD)
    assert outcome.status == "wrong", outcome.error


def test_bounds_are_those_of_the_images():
    p = problem("resnet18")
    low, high = arguments_of(p, "epsilon_gamma_box").values()
    assert low.shape == high.shape == (3, 1, 1)
    assert ((p.x >= low) & (p.x <= high)).all()
    assert ((p.x == low).flatten(2).any(2).any(0) & (p.x == high).flatten(2).any(2).any(0)).all()
    assert arguments_of(p, "epsilon_plus") == {}


def test_merged_eps_is_the_same_network():
    plain, merged = (make_problem(CASES["resnet18"], 2, tiny=True, merged_eps=flag) for flag in (False, True))
    norms = [m for m in merged.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(m.eps == 0 for m in norms)
    with torch.no_grad():
        # one more rounding of each variance
        torch.testing.assert_close(merged.model(merged.x), plain.model(plain.x), rtol=1e-4, atol=1e-5)
    assert merged.small_copy().merged_eps and not plain.small_copy().merged_eps


class _Add(torch.nn.Module):
    calls = 0

    def forward(self, a, b):
        _Add.calls += 1
        return a + b


@pytest.mark.parametrize("case, blocks", [("resnet18", 8), ("resnet50", 16), ("vgg16", 0)])
def test_modules_may_add(case, blocks):
    p = make_problem(CASES[case], 2, tiny=True)
    with torch.no_grad():
        expected = p.model(p.x)
        _Add.calls = 0
        assert models.set_additions(p.model, _Add) == blocks
        assert torch.equal(p.model(p.x), expected) and _Add.calls == blocks


def test_bare_asks_for_the_calls_of_this_composite(monkeypatch):
    asked = []

    def bare_calls(self, x, **options):
        asked.append(options)
        return [lambda: x]

    monkeypatch.setattr(rx.Explainer, "bare_calls", bare_calls)
    p = problem("digits")
    assert status(p, "epsilon_plus", "bare") == {"bare": "floor"}
    (options,) = asked
    assert options["method"] == "lrp" and set(options) == {"method", "composite"}
    for kind, rule in (("convolution", "ZPlus"), ("linear", "Epsilon")):
        assert type(options["composite"](Layer(kind, "", "", False, False))).__name__ == rule


def test_rows_of_every_composite(tmp_path, capsys):
    path = tmp_path / "made" / "rows.jsonl"
    argv = ["--tiny", "--case", "digits", "--rounds", "1", "--batch", "2", "--store", str(path)]
    assert lrp.main(argv) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["method"], r["provider"]) for r in rows] == [(c, p) for c in COMPOSITES for p in CPU]
    assert {r["benchmark"] for r in rows} == {"lrp"}
    for row in rows:
        assert row["status"] == ("floor" if row["provider"] == "bare" else "unavailable" if row["reason"] else "ok")
        assert row["status"] == "unavailable" or row["median_ms"] > 0
        assert row["status"] != "ok" or row["relative_l2"] <= row["gate"]
    assert capsys.readouterr().out.count("images/s") == len(COMPOSITES)


def test_a_wrong_engine_fails_the_command(monkeypatch, capsys):
    def zeros(problem, name):
        return Prepared(lambda: torch.zeros_like(problem.x), name)

    broken = replace(lrp.COMPARISON, providers={**PROVIDERS, "reluxfast reference": zeros})
    monkeypatch.setattr(lrp, "COMPARISON", broken)
    argv = ["--tiny", "--case", "digits", "--rounds", "1", "--composite", "epsilon"]
    assert lrp.main([*argv, "--provider", "reluxfast reference"]) == 1
    assert "reluxfast reference: wrong, relative error 1.0e+00" in capsys.readouterr().out
