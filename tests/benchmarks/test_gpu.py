"""The GPU's measurements as far as they run without one: their statements, their clock, their report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import guided, lrp, rows
from benchmarks.gpu import chains, clock, convolutions, ops, report
from benchmarks.providers import providers_on
from benchmarks.report import BASES

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


@pytest.mark.parametrize("dtype", list(ops.DTYPES))
def test_ops_count_their_bytes(dtype):
    """What a call's operands and results hold, each once."""
    kind = ops.DTYPES[dtype]
    for work in ops.works((2, 32, 8, 8), kind, CPU):
        seen = _touched(work.make())
        bias = 32 * kind.itemsize
        assert work.moved <= seen <= work.moved + bias, work.name


def _touched(call) -> int:
    """Bytes of the tensors that a call's closure holds and that it returns; a tensor written in place counts twice."""
    tensors = [c.cell_contents for c in call.__closure__ if isinstance(c.cell_contents, torch.Tensor)]
    before = [t.clone() for t in tensors]
    result = call()
    written = [t for t, old in zip(tensors, before, strict=True) if not torch.equal(t, old)]
    returned = [t for t in (result if isinstance(result, tuple) else (result,)) if isinstance(t, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in (*tensors, *written, *returned))


def test_ops_are_checked_before_they_are_timed(monkeypatch):
    ops.check((2, 5, 7, 9), "float32", CPU, "reference")
    right = ops.ops.gate
    monkeypatch.setattr(ops.ops, "gate", lambda g, *rest: right(g, *rest) * (1 if _reference() else 2))
    with pytest.raises(AssertionError, match="result 2"):
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
    right = chains.ops.mlp_chains
    monkeypatch.setattr(chains.ops, "mlp_chains", lambda *rest: [1.001 * values for values in right(*rest)])
    with pytest.raises(AssertionError, match=r"reference \(ieee\) is .* from float64 on 30-128-64-1"):
        chains.check("30-128-64-1", CPU, "reference", "ieee")


def test_chains_allow_tf32_where_it_is_measured(monkeypatch):
    given, right = [], chains.ops.mlp_chains
    monkeypatch.setattr(chains.ops, "mlp_chains", lambda *rest: (given.append(rest[-1]), right(*rest))[1])
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


@pytest.mark.parametrize("stage", ["guided", "lrp"])
def test_a_stage_asks_for_what_its_benchmark_has(stage):
    """Every provider it names is compared on a GPU, and the engine there is among them."""
    module, *arguments = getattr(report, stage)(torch.device("cuda"))
    benchmark = {"benchmarks.guided": guided, "benchmarks.lrp": lrp}[module]
    asked = benchmark.parser().parse_args(arguments)
    offered = providers_on(torch.device("cuda"), benchmark.COMPARISON.providers)
    assert set(asked.provider) <= set(offered)
    assert BASES["cuda"] in asked.provider and asked.device == "cuda"


def test_the_shapley_stage_measures_every_network_on_the_gpu():
    module, *arguments = report.shapley(torch.device("cuda"))
    asked = chains.parser().parse_args(arguments)
    assert module == chains.__name__ and asked.device == "cuda" and not asked.network


def test_the_shapley_stage_reports_its_rows(tmp_path, monkeypatch):
    tiny = ["--backend", "reference", "--network", "30-128-64-1", "--rows", "2", "--pairs", "1", "--matmul", "8"]
    stage = report.shapley
    monkeypatch.setattr(report, "shapley", lambda device: [*stage(device), *tiny, "--rounds", "1"])
    assert report.main(["--device", "cpu", "--out", str(tmp_path), "--stage", "shapley"]) == 0
    (written,) = json.loads((tmp_path / "report.json").read_text())["stages"]
    found = written["facts"]["rows"]
    assert written["ok"] and {row["network"] for row in found} == {"30-128-64-1"}
    assert {"masked", "reference"} <= {row["form"] for row in found}
    assert all(row["ns_per_evaluation"] > 0 and row["environment"]["device"] == "cpu" for row in found)


def test_a_report_without_a_gpu(capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert report.main([]) == 2 and "needs a GPU" in capsys.readouterr().err
