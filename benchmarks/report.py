"""Outcomes of a run as JSON-ready rows and as a table."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import Problem
from benchmarks.gate import Outcome
from benchmarks.rows import environment, table
from benchmarks.timing import Stats, paired_ratio, summarise

# What the others are divided by, for each kind of device.
BASES = {"cpu": "reluxfast cpp", "cuda": "reluxfast cuda"}
FLOOR = "bare"


def _ratio(outcome: Outcome, outcomes: list[Outcome], other: str) -> Stats | None:
    """Time of `outcome` over the time of provider `other`, round by round; None when either was not timed."""
    base = next((o for o in outcomes if o.provider == other), None)
    if base is None or not base.seconds or not outcome.seconds:
        return None
    return paired_ratio(outcome.seconds, base.seconds)


def to_rows(benchmark: str, problem: Problem, method: str, outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """One JSON-ready dict per provider: case, numbers, gate and environment. Times in ms."""
    common = {
        "benchmark": benchmark,
        "case": problem.case.name,
        "functional": problem.functional,
        "tiny": problem.tiny,
        "method": method,
        "batch": problem.x.shape[0],
        "size": problem.x.shape[-1],
        "n_parameters": sum(p.numel() for p in problem.model.parameters()),
        "dtype": str(problem.x.dtype).removeprefix("torch."),
        "environment": environment(problem.x.device),
    }
    common["base"] = base = BASES[problem.x.device.type]
    return [common | _numbers(outcome, outcomes, problem.x.shape[0], base) for outcome in outcomes]


def _numbers(outcome: Outcome, outcomes: list[Outcome], batch: int, base: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "provider": outcome.provider,
        "status": outcome.status,
        "computes": outcome.computes,
        "relative_l2": _finite(outcome.error),
        "cosine": _finite(outcome.cosine),
        "small_relative_l2": _finite(outcome.small_error),
        "gate": outcome.gate,
        "reason": outcome.reason,
        "setup_s": outcome.setup_s,
    }
    if outcome.seconds:
        stats = summarise(outcome.seconds)
        row |= stats.in_ms() | {"images_per_s": batch / stats.median}
        for key, other in (("over_base", base), ("over_floor", FLOOR)):
            ratio = _ratio(outcome, outcomes, other)
            if ratio is not None:
                row[key] = ratio.plain()
    return row


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None


def to_text(rows: list[dict[str, Any]]) -> str:
    """The rows of one problem as a table under one line of environment."""
    first = rows[0]
    env = first["environment"]
    versions = " ".join(f"{name} {version}" for name, version in env["versions"].items() if version)
    title = (
        f"{first['case']}{' (functional ReLU)' if first['functional'] else ''}, {first['method']}, "
        f"batch {first['batch']} at {first['size']}x{first['size']}, {first['dtype']}, {env['threads']} thread(s)\n"
        f"{env['cpu']} ({env['cpu_capability']}), commit {env['commit'] or 'unknown'}, {versions}"
    )
    header = ("provider", "computes", "gate", "error", "median ms", "20-80 %", "images/s")
    header = (*header, "/ " + first["base"], "/ " + FLOOR)
    body = [_cells(row) for row in rows]
    notes = [f"{row['provider']}: {row['status']}, {row['reason']}" for row in rows if row["reason"]]
    return "\n".join([title, table(header, body), *notes])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    error = "-" if row["relative_l2"] is None else f"{row['relative_l2']:.1e}"
    head = (row["provider"], row["computes"] or "-", row["status"], error)
    if "median_ms" not in row:
        return (*head, "-", "-", "-", "-", "-")
    band = f"{row['p20_ms']:.1f}-{row['p80_ms']:.1f}"
    ratios = (f"{row[key]['median']:.2f}x" if key in row else "-" for key in ("over_base", "over_floor"))
    return (*head, f"{row['median_ms']:.1f}", band, f"{row['images_per_s']:.1f}", *ratios)
