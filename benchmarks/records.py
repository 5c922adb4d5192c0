"""Outcomes of a run as rows: flat JSON-ready dicts, one for each provider of a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from reluxfast.benchmarks.case import Conditions, Point
from reluxfast.benchmarks.problem import Problem
from reluxfast.benchmarks.rates import Rates
from reluxfast.benchmarks.results_file import SCHEMA
from reluxfast.benchmarks.runner import Outcome
from reluxfast.benchmarks.timing import paired_ratio, summarise


def to_rows(
    point: Point,
    problem: Problem,
    outcomes: Sequence[Outcome],
    rates: Rates,
    conditions: Conditions,
    environment: dict[str, Any],
    run: str,
) -> list[dict[str, Any]]:
    """One row for each outcome; times in ms, sizes in bytes, rates in FLOP/s and bytes/s.

    Args:
        point, problem, conditions: what was timed.
        outcomes, rates: of `runner.run`.
        environment: of `rows.environment`.
        run: identity of the command that measured.
    """
    work = problem.work()
    base = next((o for o in outcomes if o.kind == "engine" and o.seconds), None)
    bare = next((o for o in outcomes if o.kind == "floor" and o.seconds), None)
    common = {
        "schema": SCHEMA,
        "run": run,
        "time": environment["time"],
        "case": point.case.name,
        "group": point.case.group,
        "axes": dict(point.axes),
        "sweep": point.sweep,
        "tiny": conditions.tiny,
        "functional": conditions.functional,
        "seed": conditions.seed,
        "unit": problem.unit,
        "amount": problem.amount,
        "base": base.provider if base else None,
        "environment": {**environment, "rates": rates.plain()},
    }
    if work is not None:
        floor_s = work.seconds(rates.gemm_flop_per_s, rates.copy_bytes_per_s)
        common |= {"flop": work.flop, "moved_bytes": work.moved, "floor_ms": 1e3 * floor_s}
    return [common | _fate(o) | _numbers(o, base, bare, common) for o in outcomes]


def _fate(outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "provider": outcome.provider,
        "kind": outcome.kind,
        "status": outcome.status,
        "reason": outcome.reason,
        "note": outcome.note,
        "computes": outcome.computes,
        "setup_s": outcome.setup_s,
        "first_call_s": outcome.first_call_s,
    }
    for prefix, verdict in (("", outcome.verdict), ("small_", outcome.small)):
        row[f"{prefix}error"] = None if verdict is None else _finite(verdict.error)
        row[f"{prefix}gate"] = None if verdict is None else verdict.gate
    verdict = outcome.verdict or outcome.small
    row["error_in"] = None if verdict is None else verdict.measure
    row["cosine"] = None if verdict is None else _finite(verdict.cosine)
    return row


def _numbers(outcome: Outcome, base: Outcome | None, bare: Outcome | None, common: dict[str, Any]) -> dict[str, Any]:
    if not outcome.seconds:
        return {}
    stats = summarise(outcome.seconds)
    row: dict[str, Any] = stats.in_ms() | {"per_s": common["amount"] / stats.median}
    if base is not None:
        row["over_base"] = paired_ratio(outcome.seconds, base.seconds).plain()
    if bare is not None:
        row["over_bare"] = paired_ratio(outcome.seconds, bare.seconds).plain()
    if "floor_ms" in common:
        row |= {"of_floor": common["floor_ms"] / row["median_ms"], "flop_per_s": common["flop"] / stats.median}
    if outcome.trace is not None:
        row["ops"] = outcome.trace.ops
        if outcome.kind != "floor":
            row["held_bytes"] = outcome.held_bytes
            row["peak_bytes"] = outcome.trace.peak_bytes + max(0, outcome.held_bytes or 0)
    return row


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
