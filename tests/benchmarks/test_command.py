"""`reluxfast bench`, end to end: rows, files, exit codes and errors."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace

import pytest

from reluxfast import cli
from reluxfast.benchmarks import registry, rows
from reluxfast.benchmarks.problem import Prepared
from reluxfast.extras import MissingExtra
from tests.benchmarks.problems import CASE, PROVIDERS, Doubling, times


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """(arguments) -> exit code, standard output, standard error; rows go to `bench.out`."""
    monkeypatch.setitem(registry.CASES, CASE.name, CASE)

    def run(*arguments: str):
        out = () if any(a in arguments for a in ("--list", "--compare")) else ("--out", str(run.out))
        code = cli.main(["bench", *arguments, *out])
        return code, *capsys.readouterr()

    run.out = tmp_path / "out"
    return run


def stored(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def with_providers(monkeypatch, **providers):
    monkeypatch.setattr(Doubling, "providers", lambda self: PROVIDERS | providers)


def test_rows_are_printed_and_stored(bench):
    code, out, _ = bench("--case", "doubling", "--rounds", "2", "--threads", "1")
    assert code == 0
    assert "doubling/plain: batch 100" in out and "liar: wrong" in out and "5 rows in" in out
    rows = stored(bench.out)
    assert [row["provider"] for row in rows] == list(PROVIDERS)
    assert {row["run"] for row in rows} == {rows[0]["run"]} and rows[0]["rounds"] == 2
    header = (bench.out / "rows.csv").read_text().splitlines()[0].split(",")
    assert {"case", "provider", "axes.batch", "median_ms", "environment.commit"} <= set(header)


def test_rows_are_added_and_axes_chosen(bench):
    bench("--case", "doubling", "--rounds", "1")
    code, out, _ = bench("--case", "doubling", "--batch", "1", "--batch", "7", "--rounds", "1", "--provider", "pe*")
    assert code == 0 and "batch 7" in out
    rows = stored(bench.out)
    assert [row["axes"]["batch"] for row in rows] == [100] * 5 + [1, 7]
    assert len({row["run"] for row in rows}) == 2 and rows[-1]["provider"] == "peer"


def test_resume_leaves_out_what_is_there(bench, monkeypatch):
    monkeypatch.setattr(rows, "_commit", lambda: "0123456789ab")
    bench("--case", "doubling", "--batch", "1", "--rounds", "1")
    code, out, _ = bench("--case", "doubling", "--batch", "1", "--batch", "2", "--rounds", "1", "--resume")
    assert code == 0 and [row["axes"]["batch"] for row in stored(bench.out)] == [1] * 5 + [2] * 5
    code, out, _ = bench("--case", "doubling", "--batch", "2", "--rounds", "1", "--resume")
    assert code == 0 and "0 rows" in out
    monkeypatch.setattr(rows, "_commit", lambda: "0123456789ab-dirty")
    for _ in range(2):  # changed code has no name
        bench("--case", "doubling", "--batch", "3", "--rounds", "1", "--resume")
    assert [row["axes"]["batch"] for row in stored(bench.out)] == [1] * 5 + [2] * 5 + [3] * 10
    code, _, err = bench("--case", "doubling", "--resume", "--provider", "peer")
    assert code == 2 and "--resume goes on with whole points" in err


def test_a_case_whose_data_are_missing_is_left_out_and_named(bench, monkeypatch):
    def make(axes, conditions):
        raise MissingExtra("scikit-learn", "demo", "this data set")

    monkeypatch.setitem(registry.CASES, "doubling/data", replace(CASE, name="doubling/data", make=make))
    code, _, err = bench("--case", "doubling", "--rounds", "1")
    assert code == 0 and "doubling/data left out: this data set needs scikit-learn" in err
    assert {row["case"] for row in stored(bench.out)} == {"doubling/plain"}


def test_json(bench):
    code, out, _ = bench("--case", "doubling", "--rounds", "1", "--json")
    assert code == 0 and json.loads(out) == stored(bench.out)


def test_a_wrong_engine_fails_the_command(bench, monkeypatch):
    with_providers(monkeypatch, **{"reluxfast cpp": times(3)})
    code, out, _ = bench("--case", "doubling", "--rounds", "1")
    assert code == 1 and "reluxfast cpp: wrong" in out


def test_an_interrupt_keeps_finished_points(bench, monkeypatch):
    def interrupted(problem):
        def call():
            if problem.amount == 2:
                raise KeyboardInterrupt
            return 2 * problem.x

        return Prepared(call, "doubling")

    with_providers(monkeypatch, **{"slow peer": interrupted})
    code, _, err = bench("--case", "doubling", "--batch", "1", "--batch", "2", "--rounds", "1")
    assert code == 130 and "interrupted" in err
    assert {row["axes"]["batch"] for row in stored(bench.out)} == {1}


def test_stored_rows_are_shown_compared_and_drawn(bench, tmp_path):
    bench("--case", "doubling", "--rounds", "2")
    first = bench.out
    bench.out = tmp_path / "again"
    bench("--case", "doubling", "--rounds", "2")
    code, out, _ = bench("--compare", str(first), str(bench.out / "rows.jsonl"))
    assert code == 0 and "doubling/plain" in out and "agree" in out
    before = (first / "rows.jsonl").read_text()
    bench.out = tmp_path / "pictures"
    code, out, err = bench("--rows", str(first), "--plot")
    assert code == 0 and "doubling/plain: batch 100" in out and "picture: " in err
    assert list(bench.out.glob("*.png")) and (first / "rows.jsonl").read_text() == before


def test_json_is_for_rows(bench):
    for others in (["--list"], ["--compare", "a", "b"]):
        code, _, err = bench("--json", *others)
        assert code == 2 and f"--json prints rows, got {others[0]}" in err


def test_resume_measures_again_what_was_asked_for_otherwise(bench, monkeypatch):
    monkeypatch.setattr(rows, "_commit", lambda: "0123456789ab")
    bench("--case", "doubling", "--rounds", "1", "--provider", "peer")
    bench("--case", "doubling", "--rounds", "1", "--resume")
    bench("--case", "doubling", "--rounds", "2", "--resume")
    bench("--case", "doubling", "--rounds", "2", "--resume")
    assert len(stored(bench.out)) == 1 + 5 + 5


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "__file__", str(tmp_path / "site-packages" / "reluxfast" / "benchmarks" / "rows.py"))
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)  # the repository that the environment lies in
    assert rows._commit() is None


def test_the_list_names_cases_and_axes(bench):
    code, out, _ = bench("--list")
    assert code == 0 and "vgg16/epsilon_plus" in out and "batch=4" in out and "mlp30/shapley" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "vgg17"], "--case must be the name of a case"),
        (["--case", "doubling", "--provider", "nobody"], "--provider must name somebody"),
        (["--case", "doubling", "--axis", "depth=3"], "must be an axis of a case: batch"),
        (["--case", "doubling", "--device", "tpu"], "--device must be cpu, cuda or cuda:N"),
        (["--case", "doubling", "--batch", "0"], "must be an integer from 1 on, got '0'"),
        (["--axis", "depth"], "must be NAME=VALUE, got 'depth'"),
        (["--rows", "nowhere"], "nowhere"),
        (["--rows", os.devnull], "--rows must hold rows"),
        (["--case", "doubling", "--method", "gradient"], "belongs to --model"),
        (["--model", "nowhere.pt2", "--input", "nowhere.npy"], "nowhere.pt2"),
        (["--model", "nowhere.pt2"], "--input"),
    ],
)
def test_wrong_usage_is_one_line(bench, capsys, arguments, message):
    try:
        code, _, err = bench(*arguments)
    except SystemExit as exit:  # argparse
        code, err = exit.code, capsys.readouterr().err
    *_, last = err.splitlines()
    assert code == 2 and message in last and last.startswith("error: ") and "Traceback" not in err


def test_a_gpu_that_is_not_there_is_an_error(bench, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = bench("--case", "doubling", "--device", "cuda")
    assert code == 2 and "needs a GPU that torch can see" in err
