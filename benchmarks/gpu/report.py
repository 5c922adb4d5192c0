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

from benchmarks import rows

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("build", "tests", "ops", "guided", "lrp", "shapley", "sanitizer")
# Seconds; together below ten minutes.
LIMITS = {"build": 140, "tests": 170, "ops": 40, "guided": 65, "lrp": 95, "shapley": 40, "sanitizer": 35}
# torch.compile alone would take most of its stage; entry 6 of QUEUE.md runs it.
_GUIDED = ("reluxfast cuda", "reluxfast triton", "autograd channels_last", "captum", "captum channels_last", "bare")
_LRP = ("reluxfast cuda", "reluxfast triton", "zennit", "zennit channels_last", "bare")
# What is run under compute-sanitizer, which slows kernels down a hundredfold.
_SANITIZED = "tests/ops/test_gate.py::test_in_place tests/ops/test_max_pool.py::test_reverse"
_TESTED = (
    "tests/ops",
    "tests/relevance",
    "tests/methods",
    "tests/lrp",
    "tests/coalitions",
    "tests/test_validate.py",
)


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


def build(out: Path, device: torch.device) -> Stage:
    """The library for the GPU that is there, in place."""
    environment = {"RELUXFAST_NO_EXT": "0"}
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        environment["TORCH_CUDA_ARCH_LIST"] = f"{major}.{minor}"
    job = Job("build", [sys.executable, "setup.py", "build_ext", "--inplace"], out / "build.log", environment)
    start = time.monotonic()
    status = run_together([job], LIMITS["build"])["build"]
    return Stage("build", status == 0, time.monotonic() - start, {"status": status, "log": str(job.log)})


def tests(out: Path, device: torch.device, shards: int, selection: Sequence[str]) -> Stage:
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
    statuses = run_together(jobs, LIMITS["tests"])
    facts = {"statuses": statuses, **counted(results)}
    # 5: a shard that got no test at all.
    ok = all(status in (0, 5) for status in statuses.values()) and facts["tests"] > 0
    return Stage("tests", ok, time.monotonic() - start, facts)


def benchmark(name: str, arguments: Sequence[str], out: Path) -> Stage:
    """One of the benchmarks, its rows stored beside the report."""
    store = out / f"{name}.jsonl"
    store.unlink(missing_ok=True)
    job = Job(name, [sys.executable, "-m", *arguments, "--store", str(store)], out / f"{name}.log")
    start = time.monotonic()
    status = run_together([job], LIMITS[name])[name]
    print(job.log.read_text(encoding="utf-8"), flush=True)
    found = [json.loads(line) for line in store.read_text("utf-8").splitlines()] if store.exists() else []
    return Stage(name, status == 0, time.monotonic() - start, {"status": status, "rows": found})


def sanitizer(out: Path, device: torch.device) -> Stage:
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
    statuses = run_together(jobs, LIMITS["sanitizer"])
    return Stage("sanitizer", not any(statuses.values()), time.monotonic() - start, {"statuses": statuses})


def parser() -> argparse.ArgumentParser:
    """The command line of the report."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.report", description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument(
        "--out", type=Path, default=ROOT / "build" / "gpu", help="folder of report and logs; default: build/gpu"
    )
    p.add_argument("--stage", action="append", choices=STAGES, help="repeatable; default: all")
    p.add_argument(
        "--shards", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="test processes; default: %(default)s"
    )
    p.add_argument("--tests", nargs="*", default=list(_TESTED), help="what pytest runs; default: %(default)s")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the stages, write report.json, print what failed. 0 when every stage is green."""
    args = parser().parse_args(argv)
    device, out = torch.device(args.device), args.out.resolve()
    if device.type == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu.report: --device cuda needs a GPU that torch can see, and there is none", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    runs = {
        "build": lambda: build(out, device),
        "tests": lambda: tests(out, device, args.shards, args.tests),
        "ops": lambda: benchmark("ops", ["benchmarks.gpu.ops", "--device", str(device)], out),
        "guided": lambda: benchmark("guided", guided(device), out),
        "lrp": lambda: benchmark("lrp", lrp(device), out),
        "shapley": lambda: benchmark("shapley", shapley(device), out),
        "sanitizer": lambda: sanitizer(out, device),
    }
    found = []
    for name in args.stage or STAGES:
        print(f"== {name}", flush=True)
        stage = runs[name]()
        found.append(stage)
        print(f"== {name}: {'ok' if stage.ok else 'FAILED'} after {stage.seconds:.0f} s", flush=True)
    report = {"environment": rows.environment(device), "stages": [asdict(stage) for stage in found]}
    (out / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for stage in found:
        for failure in stage.facts.get("failures", []):
            print(failure)
    print(f"report: {os.path.relpath(out / 'report.json')}")
    return 0 if all(stage.ok for stage in found) else 1


def guided(device: torch.device) -> list[str]:
    """Module and arguments of the guided stage."""
    cases = ["--case", "vgg16", "--case", "resnet50", "--batch", "1", "--batch", "64"]
    return ["benchmarks.guided", "--device", str(device), *cases, *_repeated("--provider", _GUIDED), "--rounds", "7"]


def lrp(device: torch.device) -> list[str]:
    """Module and arguments of the LRP stage."""
    cases = ["--case", "vgg16", "--case", "resnet50", "--batch", "16"]
    rules = _repeated("--composite", ("epsilon_plus", "epsilon_alpha2_beta1"))
    chosen = _repeated("--provider", _LRP)
    return ["benchmarks.lrp", "--device", str(device), *cases, *rules, *chosen, "--rounds", "5"]


def shapley(device: torch.device) -> list[str]:
    """Module and arguments of the Shapley stage."""
    return ["benchmarks.gpu.chains", "--device", str(device)]


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


if __name__ == "__main__":
    sys.exit(main())
