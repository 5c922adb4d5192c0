"""Outcomes as rows and as a table."""

from __future__ import annotations

import json

import pytest
import torch

from reluxfast.benchmarks import records, report, rows
from reluxfast.benchmarks.case import Conditions, at
from reluxfast.benchmarks.problem import Verdict
from reluxfast.benchmarks.rates import Rates
from reluxfast.benchmarks.runner import Outcome
from reluxfast.benchmarks.trace import Trace
from reluxfast.benchmarks.wording import error_of
from tests.benchmarks.problems import CASE, Doubling

RIGHT = Verdict(1e-7, 1e-6, "largest difference", 1.0)
WRONG = Verdict(float("inf"), 1e-6, "largest difference", float("nan"), "not finite")
OUTCOMES = [
    Outcome("reluxfast cpp", "ok", None, "plain", "", RIGHT, RIGHT, 0.5, 0.2, 100, Trace(1000, 7), (0.1, 0.2, 0.3)),
    Outcome("peer", "ok", None, "other", "tuned", RIGHT, RIGHT, 0.5, 0.2, -50, Trace(1000, 9), (0.2, 0.5, 0.6)),
    Outcome("liar", "wrong", "not finite", "plain", "", WRONG, RIGHT, 0.5, 0.2, 0),
    Outcome("absent", "unavailable", "peer is not installed"),
    Outcome("bare", "floor", setup_s=0.1, first_call_s=0.1, trace=Trace(10, 3), seconds=(0.05, 0.1, 0.2)),
]


@pytest.fixture(scope="module")
def made():
    point = at(CASE, sweep="batch", batch=200)
    problem = Doubling(batch=200)
    environment = rows.environment(torch.device("cpu"))
    return records.to_rows(point, problem, OUTCOMES, Rates(1000.0, 8000.0), Conditions(seed=3), environment, "now-1")


def test_rows_can_be_stored(made, tmp_path):
    file = tmp_path / "new" / "rows.jsonl"
    rows.store(made, file)
    assert [json.loads(line) for line in file.read_text().splitlines()] == made


def test_what_every_row_says(made):
    for row, outcome in zip(made, OUTCOMES, strict=True):
        assert row["schema"] == 1 and row["run"] == "now-1" and row["case"] == "doubling/plain"
        assert row["axes"] == {"batch": 200} and row["sweep"] == "batch" and row["seed"] == 3
        assert row["provider"] == outcome.provider and row["status"] == outcome.status
        assert row["unit"] == "images" and row["amount"] == 200 and row["base"] == "reluxfast cpp"
        assert row["environment"]["rates"] == {"gemm_flop_per_s": 1000.0, "copy_bytes_per_s": 8000.0}
        assert {"torch", "captum", "zennit", "grad-cam", "shap"} <= set(row["environment"]["versions"])
        # one kernel of 100 FLOP and 800 bytes: 0.1 s of either
        assert (row["flop"], row["moved_bytes"], row["floor_ms"]) == (100, 800, pytest.approx(100.0))
        assert ("median_ms" in row) == bool(outcome.seconds)


def test_numbers_of_who_was_timed(made):
    engine, peer, _, _, bare = made
    assert engine["median_ms"] == pytest.approx(200) and engine["rounds"] == 3
    assert engine["per_s"] == pytest.approx(1000)
    assert peer["over_base"]["median"] == pytest.approx(2.0)  # of 2.0, 2.5, 2.0: pairs of a round
    assert engine["over_bare"]["median"] == pytest.approx(2.0)
    assert bare["over_base"]["median"] == pytest.approx(0.5)
    assert engine["of_floor"] == pytest.approx(0.5) and engine["flop_per_s"] == pytest.approx(500)
    assert engine["peak_bytes"] == 1100 and engine["held_bytes"] == 100 and engine["ops"] == 7
    assert peer["peak_bytes"] == 1000  # less in use than before is nothing held
    assert "peak_bytes" not in bare and bare["ops"] == 3


def test_gates_of_who_was_judged(made):
    engine, _, liar, absent, _ = made
    assert (engine["error"], engine["gate"], engine["small_error"], engine["error_in"]) == (
        1e-7,
        1e-6,
        1e-7,
        "largest difference",
    )
    assert liar["error"] is None and liar["cosine"] is None and liar["reason"] == "not finite"
    assert absent["error"] is None and absent["gate"] is None and absent["setup_s"] is None


def test_without_an_engine_and_a_floor_there_are_no_ratios():
    point, environment = at(CASE), rows.environment(torch.device("cpu"))
    (row,) = records.to_rows(point, Doubling(), [OUTCOMES[1]], Rates(1.0, 1.0), Conditions(), environment, "now-1")
    assert row["base"] is None and "over_base" not in row and "over_bare" not in row and row["median_ms"] > 0


def test_the_table_shows_all_of_it(made):
    text = report.to_text(made)
    first, header, _, *lines = text.splitlines()
    assert first == "doubling/plain: batch 200"
    assert header.split()[:3] == ["provider", "gate", "error"] and "images/s" in header
    cells = {line.split("  ")[0].strip(): line for line in lines}
    assert "2.00x" in cells["peer"] and "500.0" in cells["peer"] and "1000.0" in cells["reluxfast cpp"]
    assert cells["liar"].split()[1] == "wrong" and "  liar: wrong, not finite" in lines
    assert "  absent: unavailable, peer is not installed" in lines
    assert "  peer computes other" in lines and "  peer: tuned" in lines


def test_where_it_was_measured(made):
    text = report.where(made[0])
    assert "thread(s)" in text and "torch" in text and "GFLOP/s" in text and "commit" in text


@pytest.mark.parametrize(
    ("error", "small", "unit", "shown"),
    [
        (1.24e-7, None, "relative L2", "1.2e-07"),
        (None, 3e-4, "relative L2", "3.0e-04"),
        (1.04, None, "standard errors", "1.0 s.e."),
        (0.018, None, "of the range", "1.8e-02 of the range"),
        (None, None, None, "-"),
    ],
)
def test_errors_say_their_unit(error, small, unit, shown):
    assert error_of({"error": error, "small_error": small, "error_in": unit}) == shown
