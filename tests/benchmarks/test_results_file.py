"""Files of rows: read back as they were written, refused with a reason, and laid out as a spreadsheet."""

from __future__ import annotations

import csv
import json

import pytest

from reluxfast.benchmarks.results_file import flat, identity, latest, points, read_rows, timed, write_csv
from reluxfast.errors import InvalidInput
from tests.benchmarks.rows_for_tests import IMAGES, everything, games, point


def _lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_file_and_a_folder_of_it_are_read(tmp_path):
    rows = everything()
    (tmp_path / "rows.jsonl").write_text(_lines(*rows) + "\n")
    assert read_rows(tmp_path) == rows and read_rows(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "must be a file of rows"),
        ('{"schema": 1, "cas', "line 1.*cut off"),
        (_lines(games()[0]) + "[1]\n", "line 2: list"),
        (_lines({**games()[0], "schema": 2}), "schema 1.*line 1: 2"),
        (_lines({"case": "vgg16", "provider": "captum"}), "schema 1.*None"),
        (_lines({**games()[0], "axes": None}), "without axes"),
        (b"\xff\xfe", "readable"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.jsonl"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput, match=f"(?s)^--compare .*{said}"):
        read_rows(path, "--compare")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"folder that holds rows\.jsonl"):
        read_rows(tmp_path)


def test_rows_are_told_apart():
    row = games()[0]
    for change in ({"provider": "x"}, {"case": "x"}, {"functional": True}, {"axes": {}}):
        assert identity({**row, **change}) != identity(row)
    for key, value in (("device", "cuda"), ("threads", 7)):
        assert identity({**row, "environment": {**row["environment"], key: value}}) != identity(row)
    assert identity({**row, "run": "x", "median_ms": 3.0, "axes": dict(reversed(row["axes"].items()))}) == identity(row)


def test_the_last_of_equal_rows_counts():
    first, *others = games()
    newer = {**first, "median_ms": 1.0}
    assert latest([first, *others, newer]) == [newer, *others]
    assert len(latest([first, {**first, "sweep": "orders"}, {**first, "tiny": True}])) == 3
    (together,) = points([*point("a/b", IMAGES, {"reluxfast cpp": 1.0, "captum": 2.0}), newer])[:1]
    assert [row["provider"] for row in together] == ["reluxfast cpp", "captum"]


def test_wrong_rows_do_not_count_as_timed():
    rows = point(
        "a/b", IMAGES, {"reluxfast cpp": 1.0, "captum": "wrong: by far", "zennit": "not installed", "bare": 0.5}
    )
    rows[1]["median_ms"] = 0.1
    assert [timed(row) for row in rows] == [True, False, False, True]


def test_csv_has_a_column_for_each_nested_entry(tmp_path):
    rows = games()
    path = tmp_path / "new" / "rows.csv"
    write_csv(rows, path)
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(rows)
    for row, line in zip(rows, found, strict=True):
        assert line["axes.rows"] == str(row["axes"]["rows"]) and line["environment.versions.torch"] == "2.13.0+cpu"
        timed_as = str(row["over_base"]["median"]) if "over_base" in row else ""
        assert line["over_base.median"] == timed_as
        assert line["environment.versions.triton"] == ""
    assert flat({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": 1, "d": "[1, 2]"}


def test_csv_of_nothing(tmp_path):
    write_csv([], tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().strip() == ""
