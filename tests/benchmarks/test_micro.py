"""The micro-benchmarks: every op in small, their JSON, and that wrong values fail instead of being timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reluxfast import ops
from reluxfast.benchmarks.micro import works
from tests.device import DEVICE

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def _run(*options: str) -> subprocess.CompletedProcess:
    """Pytest in a process of its own: pytest-benchmark measures nothing in a worker of pytest-xdist."""
    command = [sys.executable, "-m", "pytest", "benchmarks/micro", "-q", "-p", "no:cacheprovider", "--tiny", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRITON_"))}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict:
    """What the command wrote."""
    pytest.importorskip("pytest_benchmark")
    path = tmp_path_factory.mktemp("micro") / "out.json"
    done = _run("--benchmark-json", str(path), "--device", DEVICE)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())


def test_every_op_is_timed_beside_plain_torch(stored):
    found: dict[str, set[str]] = {}
    for benchmark in stored["benchmarks"]:
        found.setdefault(benchmark["extra_info"]["op"], set()).add(benchmark["extra_info"]["provider"])
    # Of an op and its form that writes in place, one is enough.
    assert {op.rstrip("_") for op in found} == {name.rstrip("_") for name in ops._REFERENCES}
    kernels = "cpp" if DEVICE == "cpu" and ops.available_backends()["cpp"] is None else "reference"
    assert all({"torch", "reference", kernels} <= providers for providers in found.values())


def test_rows_say_what_was_measured(stored):
    for benchmark in stored["benchmarks"]:
        info = benchmark["extra_info"]
        seconds = benchmark["stats"]["median"]
        assert info["gb_per_s"] == pytest.approx(info["bytes"] / seconds / 1e9) and info["bytes"] > 0
        assert info["shape"] and info["dtype"] in works.DTYPES and info["threads"] >= 1
    assert stored["machine_info"]["reluxfast"]["versions"]["torch"] == torch.__version__
    flops = [b["extra_info"]["flop"] for b in stored["benchmarks"] if b["extra_info"]["op"] == "mlp_chains"]
    # Two rows of a pair of two chains of 29 inputs each.
    assert flops and all(flop == 2 * 2 * 29 * 2 * (128 + 128 * 64 + 64) for flop in flops)


def test_without_the_plugin_it_says_what_is_missing():
    done = _run("-p", "no:benchmark")
    assert done.returncode != 0 and "benchmarks/micro needs pytest-benchmark" in done.stderr


def _every(dtype: str) -> list[works.Work]:
    return list(works.all_works(True, works.DTYPES[dtype], CPU))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_bytes_are_counted_once(dtype):
    """Against what a pass over the tensors of each op is known to be."""
    n, c, h, w = 2, 8, 8, 8
    from reluxfast.benchmarks.micro import coalitions, maps

    kind = works.DTYPES[dtype]
    count, bias = n * c * h * w, c * kind.itemsize
    whole, bits = count * kind.itemsize, count // 8
    known = {
        "relu_pack bias": 2 * whole + bits + bias,
        # In place: read once, written once.
        "relu_pack_ bias": 2 * whole + bits + bias,
        "relu_pack_ bias residual": 3 * whole + bits + bias,
        "gate gradient": 2 * whole + bits,
        "gate_ guided": 2 * whole + bits,
        "gate_ guided skip": 3 * whole + bits,
        "gate_ deconvnet": 2 * whole,
        "soft_gate_pack_": 3 * whole,
        "soft_gate_pack_ relu": 4 * whole,
        "soft_gate_pack_ relu bytes": 3 * whole + count,
        "soft_gate_pack_ two gates": 4 * whole,
        "soft_gate_": 3 * whole,
        "soft_gate_ skip": 4 * whole,
        "soft_gate_ bytes": 2 * whole + count,
        # A quarter of the elements, four bits for nine taps and two for four, a bit each for the ReLU.
        "max_pool_pack 2x2/2": whole + whole // 4 + count // 16 + count // 32,
        "max_pool_scatter 2x2/2": whole + whole // 4 + count // 16 + count // 32,
        "max_pool_pack 3x3/2": whole + whole // 4 + count // 8 + count // 32,
        "max_pool_scatter 3x3/2": whole + whole // 4 + count // 8 + count // 32,
    }
    row = c * h * w
    rest = 4 * (row + 4 * n)
    known["write_coalitions_ squares"] = whole + 2 * row * kind.itemsize + rest + 4
    known["write_coalitions_ elements"] = whole + 2 * row * kind.itemsize + rest + 4 * row
    if dtype != "float32":
        known["write_coalitions_ squares of float32"] = whole + 2 * row * 4 + rest + 4
    shape = (n, c, h, w)
    every = [*maps.works(shape, kind, CPU), *coalitions.works(shape, kind, CPU)]
    assert {work.name: works.expected(work, work.draw()).moved for work in every} == known


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_reference_and_the_plain_calls_agree(dtype):
    for work in _every(dtype):
        inputs = work.draw()
        want = works.expected(work, inputs)
        with ops.backend("reference"):
            works.check_op(work, work.ours(*works.copied(inputs)).run(), want.values)
        works.check_plain(work, work.plain(*works.copied(inputs)).run(), want.values)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_wrong_values_fail(dtype):
    """One element a little off, one bit turned, one NaN, a result missing: in every result of every op."""
    for work in _every(dtype):
        right = works.expected(work, work.draw()).values
        for i, value in enumerate(right):
            spoilt = [value + 1] if not value.is_floating_point() else [_with(value, 0.05), _with(value, float("nan"))]
            for one in spoilt:
                got = [*right[:i], one.to(value.dtype), *right[i + 1 :]]
                with pytest.raises(AssertionError, match=f"result {i} is"):
                    works.check_op(work, tuple(_as(dtype, got)), right)
        with pytest.raises(AssertionError, match="results expected"):
            works.check_op(work, right[:-1], right)


def _with(value: torch.Tensor, change: float) -> torch.Tensor:
    """One element moved by a share of the largest."""
    changed = value.clone(memory_format=torch.contiguous_format)
    changed.view(-1)[changed.numel() // 2] += change * changed.abs().max()
    return changed


def _as(dtype: str, values: list[torch.Tensor]) -> list[torch.Tensor]:
    return [v.to(works.DTYPES[dtype]) if v.is_floating_point() else v for v in values]


def test_plain_calls_that_compute_something_else_fail():
    for work in _every("float32"):
        inputs = work.draw()
        want = works.expected(work, inputs)
        other = replace(work, comparable=lambda values: tuple(t.double() + 0.1 for t in values))
        wrong = other.comparable(want.values)
        with pytest.raises(AssertionError, match="plain calls for"):
            works.check_plain(work, wrong, tuple(2 * t + 3 for t in want.values))


def test_inputs_survive_a_call():
    """Providers of one op get the same inputs, whatever the one before changed."""
    for dtype in ("float32", "float64"):
        for work in _every(dtype):
            inputs = work.draw()
            before = works.copied(inputs)
            works.expected(work, inputs)
            work.plain(*works.copied(inputs)).run()
            assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True)), work.name


def test_calls_say_what_they_change():
    """What is restored before each round is all that a call changes."""
    for work in _every("float32"):
        for make in (work.ours, work.plain):
            inputs = works.copied(work.draw())
            call = make(*inputs)
            before = works.copied(inputs)
            call.run()
            for old, tensor in zip(before, inputs, strict=True):
                assert torch.equal(old, tensor) or any(tensor is changed for changed in call.changes), work.name
