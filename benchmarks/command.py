"""`reluxfast bench`: measure points, print and store rows, compare and draw them."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from reluxfast.benchmarks import comparison, fits, memory, registry, report, rows, runner
from reluxfast.benchmarks.bars import bars_text
from reluxfast.benchmarks.case import Conditions, Point
from reluxfast.benchmarks.precision import float32_as
from reluxfast.benchmarks.problem import ON_REQUEST, Problem, Provider
from reluxfast.benchmarks.progress import Progress
from reluxfast.benchmarks.records import to_rows
from reluxfast.benchmarks.results_file import ROWS, read_rows, write_csv
from reluxfast.benchmarks.timing import Rounds
from reluxfast.errors import InvalidInput
from reluxfast.extras import MissingExtra

Row = dict[str, Any]

# Few rounds of what takes long, many of what does not.
_ROUNDS = Rounds(4, 40, 3.0, 30.0)
_QUICK = Rounds(3, 20, 1.0)


def run(args: argparse.Namespace) -> int:
    """Everything that `reluxfast bench` does. 1 when the engine is wrong in a row, else 0.

    Raises:
        InvalidInput: an option breaks a rule.
    """
    if args.json and (args.list or args.compare):
        raise InvalidInput("json", "prints rows", "--list" if args.list else "--compare", "Leave it out")
    if args.list:
        print(listed())
        return 0
    if args.compare:
        found = comparison.compare(*(read_rows(Path(path), "compare") for path in args.compare))
        print(comparison.compare_text(found))
        return 0
    if args.rows:
        found = read_rows(Path(args.rows), "rows")
        if not found:
            raise InvalidInput("rows", "must hold rows", args.rows)
        _show(found, args)
        return _finish(found, args)
    if args.resume and (args.provider or args.model):
        raise InvalidInput(
            "resume", "goes on with whole points of built-in cases", "--provider or --model", "Leave it out"
        )
    found = measured(args)
    return _finish(read_rows(Path(args.out)) if args.resume else found, args)


def listed() -> str:
    """Every case with its axes."""
    body = [
        (case.name, case.about, " ".join(f"{axis}={value}" for axis, value in case.axes.items()))
        for case in registry.CASES.values()
    ]
    width = max(len(name) for name, *_ in body)
    return "\n".join(f"{name.ljust(width)}  {about} [{axes}]" for name, about, axes in body)


def measured(args: argparse.Namespace) -> list[Row]:
    """Measures the chosen points; every row is in the file as soon as its point is done."""
    device = _device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    chosen = _points(args, device)
    file = Path(args.out) / ROWS
    conditions = Conditions(device, args.tiny, args.seed, args.functional)
    rounds = Rounds.exactly(args.rounds) if args.rounds else _QUICK if args.quick or args.tiny else _ROUNDS
    asked = {"providers": sorted(args.provider or ()), "rounds": [rounds.least, rounds.most, rounds.seconds]}
    done = _done(file, conditions, asked) if args.resume else set()
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    found: list[Row] = []
    start = time.monotonic()
    for number, point in enumerate(chosen, 1):
        title = f"[{number}/{len(chosen)}] {point.name}"
        with float32_as("tf32" if args.tf32 else "ieee"):
            environment = rows.environment(device) | {"tf32": args.tf32}
            if _key(point.case.name, point.axes, environment) in done:
                continue
            made = measure(point, conditions, rounds, args, environment, run_id, title)
            made = [row | {"asked": asked} for row in made]
        memory.trim()  # copies of large models are free by now
        if not made:
            continue
        rows.store(made, file)
        if not args.json:
            print((f"{report.where(made[0])}\n\n" if not found else "") + report.to_text(made) + "\n", flush=True)
        found += made
    if not found and not done:
        names = ", ".join(args.provider or ())
        raise InvalidInput("provider", "must name somebody who is compared in a chosen case", repr(names))
    if not args.json:
        print(f"{len(found)} rows in {time.monotonic() - start:.0f} s")
    return found


def measure(
    point: Point,
    conditions: Conditions,
    rounds: Rounds,
    args: argparse.Namespace,
    environment: dict[str, Any],
    run_id: str,
    title: str,
) -> list[Row]:
    """The rows of one point; none where nobody is left to compare."""
    with Progress(1, title) as progress:
        progress.phase("drawing weights and inputs")
        try:
            problem = point.case.make(point.axes, conditions)
        except MissingExtra as error:
            print(f"{point.name} left out: {error}", file=sys.stderr)
            return []
        offered = chosen_providers(problem, point, args.provider)
        if not offered:
            return []
        progress.expect(2 * len(offered))
        outcomes, rates = runner.run(problem, offered, rounds, progress, args.time_wrong)
    return to_rows(point, problem, outcomes, rates, conditions, environment, run_id)


def chosen_providers(problem: Problem, point: Point, names: Sequence[str] | None) -> dict[str, Provider]:
    """Those of the problem's providers that are asked for."""
    offered = problem.providers()
    if names:
        return {name: p for name, p in offered.items() if any(fnmatchcase(name, asked) for asked in names)}
    if point.providers is not None:
        return {name: p for name, p in offered.items() if name in point.providers}
    return {name: p for name, p in offered.items() if name not in ON_REQUEST}


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InvalidInput("device", "must be cpu, cuda or cuda:N", repr(name))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("device", "needs a GPU that torch can see", repr(name), "Leave --device out for the CPU")
    return device


def _points(args: argparse.Namespace, device: torch.device) -> list[Point]:
    axes: dict[str, list[int | str]] = {}
    for axis in ("batch", "size", "dtype"):
        if getattr(args, axis):
            axes[axis] = list(getattr(args, axis))
    for axis, value in args.axis or ():
        axes.setdefault(axis, []).append(value)
    if args.model or args.input:
        given = [name for name in ("case", "functional", "tiny") if getattr(args, name)]
        alien = next(iter((*given, *axes)), None)
        if alien is not None:
            raise InvalidInput(alien, "belongs to the built-in cases", "given with --model", f"Leave --{alien} out")
        from reluxfast.benchmarks.user_model import points_of  # only here

        return points_of(args.model, args.input, args.method, args.target)
    if args.method:
        raise InvalidInput("--method", "belongs to --model", args.method[0], "Choose cases by --case '*/METHOD'")
    if not args.case and not axes:
        return registry.suite(device.type, args.quick)
    cases = registry.select(args.case) if args.case else list(registry.CASES.values())
    return registry.points(cases, axes, strict=bool(args.case))


def _key(case: str, axes: Mapping[str, Any], environment: Mapping[str, Any]) -> tuple:
    where = [environment.get(name) for name in ("commit", "device", "threads", "tf32")]
    return case, tuple(sorted(axes.items())), *where


def _done(file: Path, conditions: Conditions, asked: Mapping[str, Any]) -> set[tuple]:
    """Points asked for in the same way, of code that has a name: what was changed since its commit may be anything."""
    if not file.exists():
        return set()
    wanted = {"tiny": conditions.tiny, "functional": conditions.functional, "seed": conditions.seed, "asked": asked}
    same = (row for row in read_rows(file, "out") if all(row.get(key) == value for key, value in wanted.items()))
    found = {_key(row["case"], row["axes"], row["environment"]) for row in same}
    return {key for key in found if key[2] and not key[2].endswith("-dirty")}


def _by_point(found: Sequence[Row]) -> Iterator[list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in found:
        key = (row["run"], row["case"], tuple(sorted(row["axes"].items())), row["functional"])
        groups.setdefault(key, []).append(row)
    yield from groups.values()


def _show(found: Sequence[Row], args: argparse.Namespace) -> None:
    if args.json:
        return
    print(report.where(found[0]) + "\n")
    for group in _by_point(found):
        print(report.to_text(group) + "\n")


def _finish(found: Sequence[Row], args: argparse.Namespace) -> int:
    """Fits, bars, the CSV file and pictures of these rows."""
    out = Path(args.out)
    if args.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        for text in (fits.fits_text(found), bars_text(found)):
            if text:
                print(text + "\n")
    if not args.rows and (out / ROWS).exists():
        write_csv(read_rows(out / ROWS), out / "rows.csv")
        print(f"rows: {out / ROWS}, {out / 'rows.csv'}", file=sys.stderr)
    if args.plot:
        from reluxfast.benchmarks.pictures import draw

        for path in draw(found, out):
            print(f"picture: {path}", file=sys.stderr)
    return int(any(row["kind"] == "engine" and row["status"] == "wrong" for row in found))
