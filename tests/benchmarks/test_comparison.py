"""Two runs beside each other: ratios, bands that overlap or not, rows that one side lacks."""

from __future__ import annotations

import pytest

from reluxfast.benchmarks.comparison import compare, compare_text, differences, summary
from tests.benchmarks.rows_for_tests import ENVIRONMENT, IMAGES, again, everything, games, point


def _two(captum: float = 20.0, **changes) -> list[dict]:
    rows = point("net/gradient", IMAGES, {"reluxfast cpp": 10.0, "captum": captum}, noise=0.05)
    return [{**row, **changes} for row in rows]


def _of(found, provider: str):
    return next(pair for pair in found.pairs if pair.a["provider"] == provider)


def test_the_same_rows_agree():
    rows = everything()
    found = compare(rows, rows)
    assert found.only_a == found.only_b == ()
    for what in ("time", "ratio"):
        agree, of = found.agreement(what)
        assert agree == of > 100
    assert {pair.time[0] for pair in found.pairs if pair.time} == {1.0}
    assert not any(pair.error_changed for pair in found.pairs)


def test_ratio_and_band_by_hand():
    pair = _of(compare(_two(), _two(30.0)), "captum")
    median, low, high = pair.time
    assert median == pytest.approx(1.5)
    assert low == pytest.approx(30 * 0.95 / (20 * 1.05)) and high == pytest.approx(30 * 1.05 / (20 * 0.95))
    assert pair.time_agrees is False and pair.ratio_agrees is False
    assert _of(compare(_two(), _two(22.0)), "captum").time_agrees, "19-21 and 20.9-23.1 overlap"
    assert not _of(compare(_two(), _two(22.2)), "captum").time_agrees, "19-21 and 21.1-23.3 do not"
    assert not _of(compare(_two(22.2), _two()), "captum").time_agrees


def test_a_slower_machine_changes_times_but_no_ratio():
    rows = games()
    found = compare(rows, again(rows, drift=1.3))
    assert found.agreement("time")[0] == 0
    agree, of = found.agreement("ratio")
    assert agree == of == sum("over_base" in row and row["provider"] != row["base"] for row in rows)


def test_the_engine_is_not_counted_among_ratios():
    found = compare(_two(), _two())
    assert _of(found, "reluxfast cpp").ratio_agrees is None and found.agreement("ratio") == (1, 1)


def test_another_engine_gives_no_ratio():
    pair = _of(compare(_two(), _two(base="reluxfast reference")), "captum")
    assert pair.ratio is None and pair.time is not None


def test_rows_of_one_side_are_named():
    rows = games()
    patches = [row for row in rows if row["case"] == "resnet18/patches"]
    rest = [row for row in rows if row not in patches]
    found = compare(rows, rest)
    assert list(found.only_a) == patches and found.only_b == ()
    assert "only in old:\n  resnet18/patches rows 1, size 224: reluxfast cpp\n" in compare_text(found, ("old", "new"))
    assert "only in B:\n  resnet18/patches" in compare_text(compare(rest, rows))


def test_runs_that_have_nothing_in_common():
    other = _two(environment=ENVIRONMENT | {"threads": 1})
    text = compare_text(compare(_two(), other))
    assert (
        "no row of one is found in the other: they have to have the same case, axes, provider, device, threads" in text
    )
    assert "no row of one" not in compare_text(compare(_two(), _two()))


def test_a_provider_that_became_wrong():
    before = _two()
    after = [before[0], {**before[1], "status": "wrong", "error": 3.0}]
    found = compare(before, after)
    pair = _of(found, "captum")
    assert pair.time is None and pair.time_agrees is None and pair.error_changed
    assert "ok 1.2e-04 -> wrong 3.0e+00" in compare_text(found)
    assert summary(found) == [
        "1 of 1 rows agree within the printed band (time) (100 %)",
        "0 of 0 rows agree within the printed band (ratio to the engine)",
        "1 of 2 rows changed their status, or their error by more than 10 %",
    ]


@pytest.mark.parametrize(("error", "changed"), [(1.25e-4, False), (1.4e-4, True), (1e-4, True), (0.0, True)])
def test_errors(error, changed):
    found = compare(_two(), _two(error=error))
    assert _of(found, "captum").error_changed is changed
    assert ("->" in compare_text(found)) is changed


def test_the_last_of_equal_rows_is_compared_and_sweeps_apart():
    rows = _two()
    pair = _of(compare(rows, [*_two(90.0), *rows]), "captum")
    assert pair.time[0] == 1
    assert len(compare(rows, _two(sweep="batch")).only_a) == 2


def test_text_marks_what_does_not_agree():
    rows = compare_text(compare(_two(), _two(30.0))).splitlines()
    line = next(row for row in rows if row.startswith("captum"))
    assert line.split()[:5] == ["captum", "20.0", "30.0", "1.50", "1.36-1.66"] and line.count("NO") == 2
    assert rows[0] == "net/gradient batch 4, size 224, float32"


def test_machines_and_versions_that_differ_are_named():
    a = point("vgg16/gradient", IMAGES, {"reluxfast cpp": 3.0, "autograd": 9.0})
    assert differences(compare(a, a)) == [] and "cpu:" not in compare_text(compare(a, a))
    versions = {**ENVIRONMENT["versions"], "captum": None, "torch": "2.14.0"}
    changed = {"cpu": "Another CPU", "versions": versions}
    b = point("vgg16/gradient", IMAGES, {"reluxfast cpp": 3.0, "autograd": 9.0}, environment=changed)
    lines = ["cpu: A Some CPU; B Another CPU", "torch: A 2.13.0+cpu; B 2.14.0", "captum: A 0.9.0; B -"]
    assert differences(compare(a, b)) == lines
    assert compare_text(compare(a, b), ("old", "new")).startswith("cpu: old Some CPU; new Another CPU\n")
