"""No number without a green gate: wrong providers are listed as wrong and not timed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import gate, guided, report, runner
from benchmarks.cases import CASES, make_problem
from benchmarks.float64 import reference
from benchmarks.providers import PROVIDERS, Prepared, Unavailable, providers_on

BASE = report.BASES["cpu"]
STANDARD = guided.STANDARD


@pytest.fixture(scope="module")
def problem():
    return make_problem(CASES["digits"], batch=2, tiny=True)


def _truth(problem, method):
    return reference(problem.model, problem.x, problem.target, method)


def _outcome(problem, prepare, method="guided_backprop", rounds=2, name="it", time_wrong=False):
    (outcome,) = runner.run(problem, method, {name: prepare}, rounds, STANDARD, time_wrong)
    return outcome


def _constant(values, computes="guided_backprop"):
    return lambda problem, method: Prepared(lambda: values, computes)


def test_right_values_are_timed(problem):
    values = _truth(problem, "guided_backprop").float()
    outcome = _outcome(problem, _constant(values))
    assert outcome.status == "ok" and len(outcome.seconds) == 2 and outcome.reason is None
    assert outcome.error < 1e-7  # one rounding to float32
    assert outcome.cosine == pytest.approx(1.0)


def test_another_method_under_this_name_is_wrong(problem):
    outcome = _outcome(problem, _constant(_truth(problem, "gradient")))
    assert outcome.status == "wrong" and outcome.seconds == () and outcome.error > 0.1
    assert "above" in outcome.reason


@pytest.mark.parametrize("method", STANDARD.gates)
@pytest.mark.parametrize("small", [True, False])
def test_gate_is_where_it_says(problem, method, small):
    judge = gate.Gate(problem if small else replace(problem, tiny=False), STANDARD)
    tolerance = (STANDARD.small_gates if small else STANDARD.gates)[method]
    for factor, status in ((0.9, "ok"), (1.1, "wrong")):
        prepared = _constant(_truth(problem, method) * (1 + factor * tolerance), method)(problem, method)
        assert judge.judge(gate.Outcome("it", "ok"), prepared).status == status


def test_a_provider_that_is_off_on_the_small_copy_is_not_timed_on_the_network():
    whole = make_problem(CASES["digits"], batch=2)

    def prepare(problem, method):
        values = _truth(problem, method) * (1.001 if problem.tiny else 1.0)
        return Prepared(lambda: values, method)

    outcome = _outcome(whole, prepare)
    assert outcome.status == "wrong" and outcome.seconds == ()
    assert "1.0e-03 above 1e-05 on the small copy" in outcome.reason


def test_both_errors_stand_in_the_row():
    whole = make_problem(CASES["digits"], batch=2)

    def prepare(problem, method):
        values = _truth(problem, method) * (1 + (1e-6 if problem.tiny else 1e-4))
        return Prepared(lambda: values, method)

    (row,) = report.to_rows("guided", whole, "guided_backprop", [_outcome(whole, prepare)])
    assert row["status"] == "ok" and row["tiny"] is False and row["gate"] == STANDARD.gates["guided_backprop"]
    assert row["small_relative_l2"] == pytest.approx(1e-6) and row["relative_l2"] == pytest.approx(1e-4)


def test_one_wrong_row_of_the_batch_is_wrong(problem):
    values = _truth(problem, "guided_backprop")
    assert _outcome(problem, _constant(values.flip(0))).status == "wrong"


def test_not_a_number_is_wrong_and_its_row_is_still_json(problem):
    values = _truth(problem, "guided_backprop").clone()
    values[0, 0, 0, 0] = float("nan")
    outcome = _outcome(problem, _constant(values))
    assert outcome.status == "wrong" and outcome.seconds == ()
    (row,) = report.to_rows("guided", problem, "guided_backprop", [outcome])
    assert json.loads(json.dumps(row, allow_nan=False))["relative_l2"] is None


def test_wrong_shape_is_wrong(problem):
    outcome = _outcome(problem, _constant(_truth(problem, "guided_backprop")[:1]))
    assert outcome.status == "wrong" and "shape (1, 1, 8, 8) instead of (2, 1, 8, 8)" in outcome.reason


def test_values_that_go_wrong_late_lose_their_times(problem):
    values = _truth(problem, "guided_backprop").clone()
    calls = 0

    def call():
        nonlocal calls
        calls += 1
        return values if calls <= 2 else torch.zeros_like(values)

    outcome = _outcome(problem, lambda problem, method: Prepared(call, "guided_backprop"))
    assert calls == 4  # gate, two rounds, gate
    assert outcome.status == "wrong" and outcome.seconds == ()


def test_a_wrong_peer_is_timed_on_request_and_stays_wrong(problem):
    zeros = _constant(torch.zeros_like(problem.x))
    peer = _outcome(problem, zeros, time_wrong=True)
    assert peer.status == "wrong" and len(peer.seconds) == 2 and "above" in peer.reason
    text = report.to_text(report.to_rows("guided", problem, "guided_backprop", [peer]))
    assert "it: wrong, relative error 1.0e+00" in text
    engine = _outcome(problem, zeros, name="reluxfast cpp", time_wrong=True)
    assert engine.status == "wrong" and engine.seconds == ()


def test_a_peer_that_is_wrong_on_the_small_copy_alone_stays_wrong_when_timed():
    whole = make_problem(CASES["digits"], batch=2)

    def prepare(problem, method):
        values = _truth(problem, method) * (2 if problem.tiny else 1)
        return Prepared(lambda: values, method)

    outcome = _outcome(whole, prepare, time_wrong=True)
    assert outcome.status == "wrong" and len(outcome.seconds) == 2 and "small copy" in outcome.reason
    assert outcome.small_error == pytest.approx(1.0) and outcome.error < 1e-6


def test_unavailable_is_listed_with_its_reason(problem):
    def prepare(problem, method):
        raise Unavailable("no such device")

    outcome = _outcome(problem, prepare)
    assert (outcome.status, outcome.reason, outcome.seconds) == ("unavailable", "no such device", ())
    text = report.to_text(report.to_rows("guided", problem, "guided_backprop", [outcome]))
    assert "it: unavailable, no such device" in text


def test_floor_is_timed_without_values(problem):
    outcome = _outcome(problem, lambda problem, method: Prepared(lambda: None, None))
    assert outcome.status == "floor" and len(outcome.seconds) == 2 and outcome.error is None


def test_ratios_stand_beside_the_engine_and_the_floor(problem):
    truth = _truth(problem, "guided_backprop")
    outcomes = [
        gate.Outcome(BASE, "ok", "guided_backprop", 0.0, 1.0, seconds=(2.0, 4.0, 6.0)),
        gate.Outcome("peer", "ok", "guided_backprop", 0.0, 1.0, seconds=(4.0, 8.0, 12.0)),
        gate.Outcome(report.FLOOR, "floor", seconds=(1.0, 2.0, 3.0)),
    ]
    rows = report.to_rows("guided", problem, "guided_backprop", outcomes)
    assert [row["over_base"]["median"] for row in rows] == [1.0, 2.0, 0.5]
    assert [row["over_floor"]["median"] for row in rows] == [2.0, 4.0, 1.0]
    assert rows[0]["median_ms"] == 4000.0 and rows[0]["images_per_s"] == len(truth) / 4.0
    line = report.to_text(rows).splitlines()[5]
    assert line.split()[:2] == ["peer", "guided_backprop"] and "2.00x" in line and "4.00x" in line


@pytest.mark.parametrize("name", ["digits", "resnet18"])
def test_captum_is_wrong_on_functional_relus_and_right_on_modules(name):
    for functional, status in ((False, "ok"), (True, "wrong")):
        problem = make_problem(CASES[name], batch=2, tiny=True, functional=functional)
        assert _outcome(problem, PROVIDERS["captum"], rounds=1).status == status


@pytest.mark.parametrize("method, cases", [("guided_backprop", list(CASES)), ("gradient", ["digits"])])
def test_every_provider_in_tiny_mode(method, cases, tmp_path, capsys):
    path = tmp_path / "made" / "rows.jsonl"
    argv = ["--tiny", "--rounds", "1", "--batch", "2", "--method", method, "--store", str(path)]
    assert guided.main([*argv, *(word for case in cases for word in ("--case", case))]) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["case"], r["provider"]) for r in rows] == [
        (c, p) for c in cases for p in providers_on(torch.device("cpu"), PROVIDERS)
    ]
    for row in rows:
        assert row["status"] in ("ok", "floor") or (row["provider"] == BASE and row["reason"])
        assert row["status"] == "unavailable" or row["median_ms"] > 0
        assert row["tiny"] is True and row["dtype"] == "float32"
        assert {"commit", "versions", "threads", "device", "time"} <= row["environment"].keys()
    assert capsys.readouterr().out.count("images/s") == len(cases)


def test_engine_is_right_on_functional_relus():
    problem = make_problem(CASES["resnet18"], batch=2, tiny=True, functional=True)
    assert _outcome(problem, PROVIDERS["reluxfast reference"], rounds=1).status == "ok"


def test_wrong_engine_fails_the_command_and_a_wrong_peer_does_not(monkeypatch, capsys):
    def zeros(problem, method):
        return Prepared(lambda: torch.zeros_like(problem.x), method)

    for name, status in (("reluxfast reference", 1), ("captum", 0)):
        monkeypatch.setitem(PROVIDERS, name, zeros)
        assert guided.main(["--tiny", "--case", "digits", "--rounds", "1", "--provider", name]) == status
        assert f"{name}: wrong, relative error 1.0e+00" in capsys.readouterr().out
