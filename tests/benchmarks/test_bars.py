"""The project's bars: met, missed, not measured."""

from __future__ import annotations

import pytest

from reluxfast.benchmarks.bars import BARS, MET, MISSED, NOT_MEASURED, Bar, bars_text, evaluate, tally
from tests.benchmarks.rows_for_tests import IMAGES, everything, point

PEERS = Bar("two", "net/gradient", ("captum", "captum channels_last"), 2.0, axes={"batch": 4})
FLOOR = Bar("near", "net/*", ("reluxfast cpp",), 1.25, "over_bare")


def _rows(captum: float | str = 25.0, last: float | str = 21.0, engine: float | str = 10.0, **changes) -> list[dict]:
    times = {"reluxfast cpp": engine, "captum": captum, "captum channels_last": last, "bare": 8.0}
    return point("net/gradient", changes.pop("axes", IMAGES), times, **changes)


def _only(bar: Bar, rows: list[dict]):
    (finding,) = evaluate(rows, [bar])
    return finding


def test_the_fastest_right_one_counts():
    finding = _only(PEERS, _rows())
    assert finding.verdict == MET and finding.provider == "captum channels_last"
    assert finding.ratio["median"] == pytest.approx(2.1) and finding.axes == IMAGES
    assert _only(PEERS, _rows(last=19.0)).verdict == MISSED
    finding = _only(PEERS, _rows(last="wrong: by 1e36"))
    assert finding.verdict == MET and finding.provider == "captum"
    timed_though_wrong = [
        {**row, "status": "wrong"} if row["provider"] == "captum channels_last" else row for row in _rows()
    ]
    assert _only(PEERS, timed_though_wrong).provider == "captum"


def test_bounds_are_part_of_what_is_asked():
    assert _only(PEERS, _rows(last=20.0)).verdict == MET
    assert _only(FLOOR, _rows(engine=10.0)).verdict == MET
    assert _only(FLOOR, _rows(engine=10.01)).verdict == MISSED


def test_without_a_right_peer_nothing_is_measured():
    finding = _only(PEERS, _rows("wrong: by far", "not installed"))
    assert finding.verdict == NOT_MEASURED and finding.ratio is None
    assert finding.reason == "captum wrong: by far; captum channels_last unavailable: not installed"
    assert _only(PEERS, []).reason == "no rows"
    assert "no row of captum" in _only(PEERS, [row for row in _rows() if row["kind"] != "peer"]).reason


def test_a_wrong_engine_misses():
    for bar in (PEERS, FLOOR):
        finding = _only(bar, _rows(engine="wrong: relative error 1"))
        assert finding.verdict == MISSED and finding.reason == "reluxfast cpp wrong: relative error 1"
    assert _only(PEERS, [row for row in _rows() if row["kind"] != "engine"]).verdict == NOT_MEASURED


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {**IMAGES, "batch": 8}},
        {"axes": {**IMAGES, "dtype": "bfloat16"}},
        {"tiny": True},
        {"functional": True},
        {"environment": {"device": "NVIDIA H200"}},
    ],
)
def test_rows_a_bar_does_not_speak_of(changes):
    assert _only(PEERS, _rows(**changes)).verdict == NOT_MEASURED
    assert _only(PEERS, [{**row, "case": "net/guided_backprop"} for row in _rows()]).verdict == NOT_MEASURED


def test_every_point_is_held_against_the_bar():
    rows = (
        _rows()
        + _rows(engine=11.0, axes={**IMAGES, "batch": 8})
        + point("net/b", IMAGES, {"reluxfast cpp": 9, "bare": 9})
    )
    assert [(f.case, f.verdict) for f in evaluate(rows, [FLOOR])] == [
        ("net/gradient", MET),
        ("net/gradient", MISSED),
        ("net/b", MET),
    ]


def test_points_of_sweeps_count_only_where_there_are_no_others():
    slow = _rows(last=15.0, sweep="batch")
    assert _only(PEERS, slow).verdict == MISSED
    assert _only(PEERS, slow + _rows()).verdict == MET


def test_the_projects_bars_on_rows_like_those_measured():
    found = {(finding.bar.label, finding.bar.over): finding for finding in evaluate(everything())}
    assert len(found) == len(BARS) == 35
    missed = {label for (label, _), finding in found.items() if finding.verdict == MISSED}
    assert missed == {
        "resnet50/epsilon_plus: better of zennit and zennit channels_last",
        "resnet50/epsilon_alpha2_beta1: better of zennit and zennit channels_last",
        "resnet50/epsilon_gamma_box: better of zennit and zennit channels_last",
        "mlp30/shapley: captum as a user runs it",
        "mlp30/shapley: captum at its best batch",
        "mlp30/shapley: shap's Permutation explainer",
        "accuracy/cancer12: captum tuned until 2 % of the range",
    }
    assert tally(list(found.values())) == "23 met, 7 missed, 5 not measured"
    rate = found["mlp30/shapley: engine at 60% of the rate of sgemm", "over_bare"]
    assert rate.bar.bound == pytest.approx(1 / 0.6) and rate.ratio["median"] == pytest.approx(7.4 / 8.4)


def test_text_says_what_was_measured_and_nothing_else():
    rows = [row for row in everything() if row["case"] == "resnet18/patches"]
    text = bars_text(rows).splitlines()
    assert text[0] == "bars: 1 met, 0 missed, 34 not measured" and len(text) == 4
    assert "<= 1.1x" in text[3] and "0.908x" in text[3] and text[3].endswith("met")
    assert bars_text(_rows()) == ""
