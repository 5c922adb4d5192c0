"""Build, test and measure on the GPU of this machine, and write one JSON report: `make gpu`.

It uses the Python that runs it and its torch; nothing is downloaded and nothing is installed. Every stage has a time
limit, and one that fails does not keep the next from running.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from reluxfast.benchmarks import rows

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("build", "tests", "ops", "chains", "bench", "sanitizer")
# Seconds; together below ten minutes, and below four in the quick form.
LIMITS = {"build": 140, "tests": 140, "ops": 40, "chains": 40, "bench": 190, "sanitizer": 35}
QUICK = {"build": 100, "tests": 50, "ops": 25, "bench": 55}
# What is run under compute-sanitizer, which slows kernels down a hundredfold.
_SANITIZED = "tests/ops/test_gate.py::test_in_place tests/ops/test_max_pool.py::test_reverse"
_TESTED = ("tests/ops", "tests/relevance", "tests/methods", "tests/lrp", "tests/coalitions", "tests/test_validate.py")
_QUICKLY_TESTED = ("tests/ops/test_gate.py", "tests/ops/test_relu_pack.py", "tests/ops/test_max_pool.py")
_QUICKLY_TESTED += ("tests/ops/test_soft_gate.py", "tests/ops/test_soft_gate_pack.py", "tests/ops/test_mlp_chains.py")
# The device's own suite takes longer than a stage may: what it leaves out stands in QUEUE.md.
_NETWORKS, _METHODS = ("vgg16", "resnet50", "resnet18"), ("guided_backprop", "epsilon_plus")
# torch.compile alone would take most of the stage.
_PEERS = ("autograd channels_last", "captum", "captum channels_last", "zennit", "zennit channels_last")
_GAME_PEERS = ("masked batch", "captum tuned", "sgemm")


@dataclass
class Stage:
    """What became of one stage.

    Attributes:
        name: of the stage.
        ok: whether everything in it succeeded.
        seconds: it took.
        facts: counts, paths of logs, the reason if it was left out.
    """

    name: str
    ok: bool
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One process: its command, what it adds to the environment, and the file for what it prints."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def run_together(jobs: Sequence[Job], limit_s: float) -> dict[str, int]:
    """Exit status of each job, all started at once; 124 for one that was stopped at the limit."""
    running = []
    for job in jobs:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                job.command, cwd=ROOT, env={**os.environ, **job.environment}, stdout=log, stderr=subprocess.STDOUT
            )
        running.append((job.name, process))
    end, found = time.monotonic() + limit_s, {}
    for name, process in running:
        try:
            found[name] = process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            found[name] = 124
    return found


def counted(files: Iterable[Path]) -> dict[str, Any]:
    """Sums over pytest's XML results: tests, failed, skipped with their reasons, and the names of failures."""
    total: dict[str, Any] = {"tests": 0, "failed": 0, "skipped": 0, "failures": [], "skips": {}}
    for file in files:
        if not file.exists():
            continue
        for case in ElementTree.parse(file).iter("testcase"):
            total["tests"] += 1
            skip, bad = case.find("skipped"), case.find("failure")
            bad = case.find("error") if bad is None else bad
            if bad is not None:
                total["failed"] += 1
                total["failures"].append(f"{case.get('classname')}::{case.get('name')}: {bad.get('message', '')[:200]}")
            elif skip is not None:
                total["skipped"] += 1
                reason = skip.get("message", "")
                total["skips"][reason] = total["skips"].get(reason, 0) + 1
    total["failures"] = total["failures"][:50]
    return total


def build(out: Path, device: torch.device, limit_s: float) -> Stage:
    """The library for the GPU that is there, in place."""
    environment = {"RELUXFAST_NO_EXT": "0"}
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        environment["TORCH_CUDA_ARCH_LIST"] = f"{major}.{minor}"
    job = Job("build", [sys.executable, "setup.py", "build_ext", "--inplace"], out / "build.log", environment)
    start = time.monotonic()
    status = run_together([job], limit_s)["build"]
    return Stage("build", status == 0, time.monotonic() - start, {"status": status, "log": str(job.log)})


def tests(out: Path, device: torch.device, limit_s: float, shards: int, selection: Sequence[str]) -> Stage:
    """The test-suite on the device, in as many processes as there are shards."""
    jobs, results = [], []
    for i in range(shards):
        result = out / "tests" / f"{i}.xml"
        results.append(result)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={result}", *selection]
        environment = {
            "RELUXFAST_TEST_DEVICE": str(device),
            "RELUXFAST_TEST_SHARD": f"{i}/{shards}",
            "OMP_NUM_THREADS": "1",
        }
        jobs.append(Job(f"shard {i}", command, out / "tests" / f"{i}.log", environment))
    start = time.monotonic()
    statuses = run_together(jobs, limit_s)
    facts = {"statuses": statuses, **counted(results)}
    # 5: a shard that got no test at all.
    ok = all(status in (0, 5) for status in statuses.values()) and facts["tests"] > 0
    return Stage("tests", ok, time.monotonic() - start, facts)


def benchmark(name: str, commands: Sequence[Sequence[str]], store: Path, out: Path, limit_s: float) -> Stage:
    """Modules with their arguments, one after the other, and the rows that they stored."""
    store.unlink(missing_ok=True)
    start, statuses = time.monotonic(), []
    for i, command in enumerate(commands):
        job = Job(name, [sys.executable, "-m", *command], out / f"{name}-{i}.log")
        statuses.append(run_together([job], limit_s - (time.monotonic() - start))[name])
        print(job.log.read_text(encoding="utf-8"), flush=True)
    found = [json.loads(line) for line in store.read_text("utf-8").splitlines()] if store.exists() else []
    ok = bool(found) and not any(statuses)
    return Stage(name, ok, time.monotonic() - start, {"statuses": statuses, "rows": found})


def sanitizer(out: Path, device: torch.device, limit_s: float) -> Stage:
    """memcheck and racecheck over a few tests, where compute-sanitizer is installed."""
    tool = shutil.which("compute-sanitizer")
    if tool is None or device.type != "cuda":
        return Stage(
            "sanitizer", True, 0.0, {"left_out": "compute-sanitizer is not installed" if tool is None else "no GPU"}
        )
    jobs = [
        Job(
            check,
            [tool, "--tool", check, "--error-exitcode", "9", "--target-processes", "all"]
            + [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-k",
                "cuda and float32 and channels_last",
                *_SANITIZED.split(),
            ],
            out / f"{check}.log",
            {
                "RELUXFAST_TEST_DEVICE": str(device),
                "RELUXFAST_TEST_SHARD": "0/8",
                "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
            },
        )
        for check in ("memcheck", "racecheck")
    ]
    start = time.monotonic()
    statuses = run_together(jobs, limit_s)
    return Stage("sanitizer", not any(statuses.values()), time.monotonic() - start, {"statuses": statuses})


def parser() -> argparse.ArgumentParser:
    """The command line of the report."""
    p = argparse.ArgumentParser(prog="python -m reluxfast.benchmarks.gpu.report", description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument(
        "--out", type=Path, default=ROOT / "build" / "gpu", help="folder of report and logs; default: build/gpu"
    )
    p.add_argument("--quick", action="store_true", help="less of everything, in less than four minutes")
    p.add_argument("--stage", action="append", choices=STAGES, help="repeatable; default: all, with --quick fewer")
    p.add_argument(
        "--shards", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="test processes; default: %(default)s"
    )
    p.add_argument("--tests", nargs="*", help=f"what pytest runs; default: {' '.join(_TESTED)}; with --quick, of ops")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the stages, write report.json, print what failed. 0 when every stage is green."""
    args = parser().parse_args(argv)
    device, out = torch.device(args.device), args.out.resolve()
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"reluxfast.benchmarks.gpu.report: --device {device} needs a GPU that torch can see", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    limits = {**LIMITS, **QUICK} if args.quick else LIMITS
    selection = args.tests or (_QUICKLY_TESTED if args.quick else _TESTED)
    found = []
    for name in args.stage or (QUICK if args.quick else STAGES):
        print(f"== {name}", flush=True)
        if name == "build":
            stage = build(out, device, limits[name])
        elif name == "tests":
            stage = tests(out, device, limits[name], args.shards, selection)
        elif name == "sanitizer":
            stage = sanitizer(out, device, limits[name])
        else:
            stage = benchmark(name, *COMMANDS[name](device, out, args.quick), out, limits[name])
        found.append(stage)
        print(f"== {name}: {'ok' if stage.ok else 'FAILED'} after {stage.seconds:.0f} s", flush=True)
    report = {"environment": rows.environment(device), "stages": [asdict(stage) for stage in found]}
    (out / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for stage in found:
        for failure in stage.facts.get("failures", []):
            print(failure)
    print(f"report: {os.path.relpath(out / 'report.json')}")
    return 0 if all(stage.ok for stage in found) else 1


Commands = tuple[list[list[str]], Path]


def ops(device: torch.device, out: Path, quick: bool) -> Commands:
    """Modules and arguments of the stage, and the file of its rows."""
    store = out / "ops.jsonl"
    command = ["reluxfast.benchmarks.gpu.ops", "--device", str(device), "--store", str(store)]
    return [[*command, *(["--dtype", "float32", "--rounds", "3"] if quick else [])]], store


def chains(device: torch.device, out: Path, quick: bool) -> Commands:
    """Modules and arguments of the stage, and the file of its rows."""
    store = out / "chains.jsonl"
    return [["reluxfast.benchmarks.gpu.chains", "--device", str(device), "--store", str(store)]], store


def bench(device: torch.device, out: Path, quick: bool) -> Commands:
    """`reluxfast bench` on games, then on maps, which may run out of time."""
    folder = out / "bench"
    command = ["reluxfast.cli", "bench", "--device", str(device), "--out", str(folder), "--quick"]
    engines = ("reluxfast cuda", "reluxfast triton") if device.type == "cuda" else ("reluxfast cpp",)
    peers = _repeated("--provider", (*engines, *_PEERS, "bare"))
    if quick:
        return [[*command, *peers, *_repeated("--provider", _GAME_PEERS)]], folder / "rows.jsonl"
    names = [f"{network}/{method}" for network in _NETWORKS for method in _METHODS]
    maps = [*command, *_repeated("--case", names), "--batch", "1", "--batch", "64", *peers]
    games = [*command, "--case", "mlp*", *_repeated("--provider", (*engines, *_GAME_PEERS))]
    return [games, maps], folder / "rows.jsonl"


COMMANDS = {"ops": ops, "chains": chains, "bench": bench}


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


if __name__ == "__main__":
    sys.exit(main())
