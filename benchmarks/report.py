"""The rows of one point as a table under a line of what was measured and one of where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reluxfast.benchmarks.rows import table
from reluxfast.benchmarks.wording import error_of


def to_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of the providers of one point."""
    first = rows[0]
    axes = ", ".join(f"{axis} {value}" for axis, value in first["axes"].items())
    title = f"{first['case']}{' (functional ReLU)' if first['functional'] else ''}: {axes}"
    base = first["base"] or "engine"
    header = ("provider", "gate", "error", "median ms", "20-80 %", f"{first['unit']}/s", f"/ {base}", "/ bare")
    header = (*header, "of floor", "peak MB", "ops")
    notes = [f"  {row['provider']}: {row['status']}, {row['reason']}" for row in rows if row["reason"]]
    notes += [f"  {row['provider']} computes {row['computes']}" for row in rows if _other(row)]
    notes += [f"  {row['provider']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([title, table(header, [_cells(row) for row in rows]), *notes])


def where(row: Mapping[str, Any]) -> str:
    """Machine, versions and measured ceilings of a row, in two lines."""
    env = row["environment"]
    versions = " ".join(f"{name} {version}" for name, version in env["versions"].items() if version)
    device = f"{env['cpu']} ({env['cpu_capability']})" if env["device"] == "cpu" else env["device"]
    ceilings = (
        f"{env['rates']['gemm_flop_per_s'] / 1e9:.0f} GFLOP/s matrix product, "
        f"{env['rates']['copy_bytes_per_s'] / 1e9:.1f} GB/s copy"
    )
    return f"{device}, {env['threads']} thread(s), {ceilings}\ncommit {env['commit'] or 'unknown'}, {versions}"


def _other(row: Mapping[str, Any]) -> bool:
    """Whether a provider stands in a table of a method that it does not compute."""
    return row["group"] == "maps" and bool(row["computes"]) and row["computes"] != row["case"].split("/")[-1]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    head = (row["provider"], row["status"], error_of(row))
    if "median_ms" not in row:
        return (*head, *["-"] * 8)
    ratios = [f"{row[key]['median']:.2f}x" if key in row else "-" for key in ("over_base", "over_bare")]
    floor = f"{100 * row['of_floor']:.0f} %" if "of_floor" in row else "-"
    peak = f"{row['peak_bytes'] / 1e6:.1f}" if row.get("peak_bytes") is not None else "-"
    band = f"{_ms(row['p20_ms'])}-{_ms(row['p80_ms'])}"
    return (
        *head,
        _ms(row["median_ms"]),
        band,
        _rate(row["per_s"]),
        *ratios,
        floor,
        peak,
        "-" if row.get("ops") is None else str(row["ops"]),
    )


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 1e4 else f"{value:.3g}"
