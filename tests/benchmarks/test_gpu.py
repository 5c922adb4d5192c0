"""The GPU's measurements as far as they run without one: their statements, their clock, their report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pytest
import torch

from reluxfast.benchmarks import rows
from reluxfast.benchmarks.arguments import add_arguments
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.command import chosen_providers
from reluxfast.benchmarks.gpu import chains, clock, convolutions, ops, report
from reluxfast.benchmarks.registry import points, select, suite

CPU = torch.device("cpu")


def test_rounds_are_interleaved_and_the_first_is_thrown_away():
    order: list[str] = []
    calls = {"a": [lambda: order.append("a0"), lambda: order.append("a1")], "b": [lambda: order.append("b0")]}
    found = clock.interleaved_ms(calls, CPU, rounds=2, passes=2)
    turn = ["a0", "a1", "a0", "a1", "b0", "b0"]
    assert order == turn * 3 and [len(v) for v in found.values()] == [2, 2]


def test_a_time_is_that_of_one_call():
    found = clock.interleaved_ms({"sleep": [lambda: time.sleep(0.02)] * 2}, CPU, rounds=1, passes=2)
    assert 20 <= found["sleep"][0] < 60


@pytest.mark.parametrize(("rounds", "passes"), [(0, 1), (1, 0)])
def test_no_round_is_an_error(rounds, passes):
    with pytest.raises(ValueError, match="at least 1"):
        clock.interleaved_ms({}, CPU, rounds, passes)


def test_buffers_exceed_every_cache():
    for size in (1, 1000, 300 << 20, 2 << 30):
        assert clock.sets_for(size) * size >= clock.BEYOND_CACHE and clock.sets_for(size) >= 2


def test_tiny_tensors_do_not_ask_for_endless_buffers(monkeypatch):
    made = []
    monkeypatch.setattr(ops, "interleaved_ms", lambda calls, *rest: made.append(len(calls["op"])) or _seen(calls))
    ops.measure("reference", (1, 8, 1, 1), "float32", CPU, 1)
    assert set(made) == {ops.MOST_SETS}


def _seen(calls) -> dict[str, list[float]]:
    return {name: [1.0] for name in calls}


def test_ops_are_checked_before_they_are_timed(monkeypatch):
    ops.check((2, 5, 7, 9), "float32", CPU, "reference")
    right = ops.ops.gate
    monkeypatch.setattr(ops.ops, "gate", lambda g, *rest: right(g, *rest) * (1 if _reference() else 2))
    with pytest.raises(AssertionError, match="gate gradient: result 0"):
        ops.check((2, 5, 7, 9), "float32", CPU, "auto")


def _reference() -> bool:
    return ops.ops.active_backend() == "reference"


def test_ops_run_and_store(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ops, "sets_for", lambda size: 2)
    arguments = ["--device", "cpu", "--backend", "reference", "--dtype", "float32", "--rounds", "1"]
    assert ops.main([*arguments, "--shape", "1", "4", "8", "8", "--store", str(tmp_path / "rows.jsonl")]) == 0
    stored = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["op"] for row in stored} == {w.name for w in ops.works((1, 4, 8, 8), torch.float32, CPU)}
    assert all(row["median_ms"] > 0 and row["of_copy"] > 0 and row["environment"]["commit"] for row in stored)
    assert "of copy" in capsys.readouterr().out


def test_convolutions_run(monkeypatch, capsys):
    monkeypatch.setattr(convolutions, "sets_for", lambda size: 1)
    monkeypatch.setattr(convolutions, "LAYERS", {k: convolutions.LAYERS[k] for k in ("first 7x7/2", "1x1 512>1024/2")})
    before = torch.backends.cudnn.conv.fp32_precision
    assert convolutions.main(["--device", "cpu", "--batch", "1", "--rounds", "1", "--shrink", "32"]) == 0
    assert torch.backends.cudnn.conv.fp32_precision == before
    assert capsys.readouterr().out.count("input_gradient") == 2 * 2 * len(convolutions.PRECISIONS)


def test_convolutions_count_their_operations():
    """Two per weight and output position: 7x7 over 3 channels, 64 results at each of 112 x 112 positions."""
    one = convolutions.layer("first 7x7/2", 1, "ieee", True, CPU)
    assert one.flops() == 2 * 7 * 7 * 3 * 64 * 112 * 112
    assert one.forward().shape == one.g.shape and one.input_gradient().shape == one.x.shape


def test_chains_run_and_store(tmp_path, capsys):
    network = "30-128-64-10"
    arguments = ["--device", "cpu", "--backend", "reference", "--network", network, "--rows", "2", "--pairs", "1"]
    assert chains.main([*arguments, "--rounds", "1", "--matmul", "8", "--store", str(tmp_path / "rows.jsonl")]) == 0
    stored = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    forms = [(form, precision) for precision in ("ieee", "tf32") for form in ("masked", "reference")]
    assert [(row["form"], row["precision"]) for row in stored] == forms
    assert all(row["gain"] == 1 for row in stored if row["form"] == "masked")
    for row in stored:
        assert 0 < row["error"] < 1e-5
        # Two rows of one pair of two chains, each with 29 inputs between its ends.
        assert row["ns_per_evaluation"] == pytest.approx(1e6 * row["median_ms"] / 116)
        assert row["tflops"] == pytest.approx(116 * 2 * (128 + 128 * 64 + 64 * 10) / row["median_ms"] / 1e9)
    assert network in capsys.readouterr().out


def test_chains_are_checked_before_they_are_timed(monkeypatch):
    right = ops.ops.mlp_chains
    monkeypatch.setattr(ops.ops, "mlp_chains", lambda *rest: [1.001 * values for values in right(*rest)])
    with pytest.raises(AssertionError, match=r"reference \(ieee\) is .* from float64 on 30-128-64-1"):
        chains.check("30-128-64-1", CPU, "reference", "ieee")


def test_chains_allow_tf32_where_it_is_measured(monkeypatch):
    given, right = [], ops.ops.mlp_chains
    monkeypatch.setattr(ops.ops, "mlp_chains", lambda *rest: (given.append(rest[-1]), right(*rest))[1])
    for precision in chains.PRECISIONS:
        chains.check("30-128-64-1", CPU, "reference", precision)
    assert given == [False, True]


def test_environment_names_the_device():
    assert rows.environment()["device"] == rows.environment(CPU)["device"] == "cpu"


RESULTS = """<testsuites><testsuite>
<testcase classname="tests.a" name="good"/>
<testcase classname="tests.a" name="bad"><failure message="1 is not 2"/></testcase>
<testcase classname="tests.a" name="broken"><error message="no fixture"/></testcase>
<testcase classname="tests.a" name="skipped"><skipped message="no captum"/></testcase>
</testsuite></testsuites>"""


def test_results_are_counted(tmp_path):
    (tmp_path / "0.xml").write_text(RESULTS)
    found = report.counted([tmp_path / "0.xml", tmp_path / "missing.xml"])
    assert (found["tests"], found["failed"], found["skipped"]) == (4, 2, 1)
    assert found["failures"] == ["tests.a::bad: 1 is not 2", "tests.a::broken: no fixture"]
    assert found["skips"] == {"no captum": 1}


def test_jobs_run_together_and_are_stopped(tmp_path):
    def job(name: str, code: str) -> report.Job:
        return report.Job(name, [sys.executable, "-c", code], tmp_path / f"{name}.log", {"GREETING": "hello"})

    jobs = [
        job("good", "import os; print(os.environ['GREETING'])"),
        job("bad", "raise SystemExit(3)"),
        job("slow", "import time; time.sleep(60)"),
    ]
    start = time.monotonic()
    assert report.run_together(jobs, 4) == {"good": 0, "bad": 3, "slow": 124}
    assert time.monotonic() - start < 30
    assert (tmp_path / "good.log").read_text() == "hello\n"


def test_the_report_of_a_part(tmp_path):
    """Two shards on the CPU: together they run every test once."""
    selection = ["--tests", "tests/benchmarks/test_timing.py", "--shards", "2"]
    status = report.main(
        ["--device", "cpu", "--out", str(tmp_path), "--stage", "tests", "--stage", "sanitizer", *selection]
    )
    written = json.loads((tmp_path / "report.json").read_text())
    tests, sanitizer = written["stages"]
    assert status == 0 and tests["ok"] and tests["facts"]["failed"] == 0
    names = [c for i in range(2) for c in _names(tmp_path / "tests" / f"{i}.xml")]
    assert len(names) == len(set(names)) == tests["facts"]["tests"] > 1
    assert sanitizer["facts"]["left_out"]
    assert written["environment"]["device"] == "cpu"


def _names(file: Path) -> list[str]:
    return [f"{c.get('classname')}::{c.get('name')}" for c in report.ElementTree.parse(file).iter("testcase")]


def test_the_stages_end_within_ten_minutes():
    assert set(report.LIMITS) == set(report.STAGES) and sum(report.LIMITS.values()) < 590
    # Quick: stages that there are, each within its usual limit.
    assert sum(report.QUICK.values()) < 235 and all(limit < report.LIMITS[name] for name, limit in report.QUICK.items())


CUDA = torch.device("cuda")


@pytest.mark.parametrize("name", ["ops", "chains"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_stage_measures_on_the_gpu(tmp_path, name, quick):
    commands, store = report.COMMANDS[name](CUDA, tmp_path, quick)
    ((module, *arguments),) = commands
    benchmark = {"ops": ops, "chains": chains}[name]
    asked = benchmark.parser().parse_args(arguments)
    assert module == benchmark.__name__ and asked.device == "cuda" and asked.store == store and not asked.backend


def _asked(command: list[str]) -> argparse.Namespace:
    module, name, *arguments = command
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert (module, name) == ("reluxfast.cli", "bench")
    return parser.parse_args(arguments)


def test_the_full_bench_stage_covers_networks_batches_and_games(tmp_path):
    commands, store = report.COMMANDS["bench"](CUDA, tmp_path, False)
    games, maps = (_asked(command) for command in commands)
    names = [f"{network}/{method}" for network in ("vgg16", "resnet50", "resnet18") for method in report._METHODS]
    assert sorted(case.name for case in select(maps.case)) == sorted(names) and maps.batch == [1, 64]
    assert {"mlp30/shapley", "mlp784/shapley", "mlp20/exact"} <= {case.name for case in select(games.case)}
    for asked in (maps, games):
        assert asked.device == "cuda" and asked.quick and Path(asked.out) / "rows.jsonl" == store


@pytest.mark.parametrize("quick", [False, True])
def test_the_bench_stage_asks_for_providers_that_there_are(tmp_path, quick):
    """Nobody it names is unknown, every point keeps somebody, and the engine on CUDA is in each."""
    commands, _ = report.COMMANDS["bench"](CUDA, tmp_path, quick)
    for asked in map(_asked, commands):
        chosen = points(select(asked.case), {}) if asked.case else suite("cuda", True)
        met = set()
        for point in chosen:
            problem = _as_on_cuda(point.case.make(point.axes, Conditions(tiny=True)))
            found = chosen_providers(problem, point, asked.provider)
            assert "reluxfast cuda" in found, point.name
            met |= set(found)
        assert set(asked.provider) == met


def _as_on_cuda(problem):
    """The same with its device's name changed: enough for who takes part to be asked."""
    kind = type(problem)
    object.__setattr__(problem, "__class__", type(kind.__name__, (kind,), {"device": CUDA}))
    vars(problem).pop("device", None)
    return problem


def test_a_bench_stage_reports_its_rows(tmp_path, monkeypatch):
    def commands(*rest):
        return [[*_TINY, "--out", str(tmp_path)]], tmp_path / "rows.jsonl"

    monkeypatch.setitem(report.COMMANDS, "bench", commands)
    assert report.main(["--device", "cpu", "--out", str(tmp_path), "--stage", "bench"]) == 0
    (written,) = json.loads((tmp_path / "report.json").read_text())["stages"]
    assert written["ok"] and written["facts"]["statuses"] == [0]
    assert {row["case"] for row in written["facts"]["rows"]} == {"digits/guided_backprop"}


_TINY = ["reluxfast.cli", "bench", "--tiny", "--case", "digits/guided_backprop", "--provider", "reluxfast reference"]


def test_a_benchmark_without_rows_has_failed(tmp_path):
    stage = report.benchmark("nothing", [["this"]], tmp_path / "rows.jsonl", tmp_path, 30)
    assert not stage.ok and stage.facts == {"statuses": [0], "rows": []}


def test_a_report_without_a_gpu(capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert report.main([]) == 2 and "needs a GPU" in capsys.readouterr().err
