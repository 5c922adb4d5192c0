"""Markdown from numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reluxfast.benchmarks.results_file import Row, timed
from reluxfast.benchmarks.wording import NONE, digits, error_of, setting, span, times


def md_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; strokes in cells do not end them."""
    body = [list(header), ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in body)


def joined(*parts: str) -> str:
    """The parts that say something, a blank line between them; "" where the last says nothing."""
    return "\n\n".join(part for part in parts if part) if parts[-1] else ""


def image(name: str, drawn: Sequence[str], folder: str, about: str) -> str:
    """A picture, where it is drawn."""
    return f"![{about}]({folder}/{name})" if name in drawn else ""


def where(row: Row, leave_out: Iterable[str] = ()) -> str:
    """Setting of a row in words, F.relu and tiny included."""
    parts = [setting(row["axes"], leave_out)]
    parts += ["F.relu"] if row.get("functional") else []
    parts += ["tiny: no measurement"] if row.get("tiny") else []
    return ", ".join(part for part in parts if part)


NUMBERS = ("ms", "20-80 %", "over engine", "20-80 %", "per s", "error", "of floor", "peak MB", "ops")


def numbers(row: Row) -> tuple[str, ...]:
    """A row's cells under NUMBERS; who was not timed says why in the first."""
    if not timed(row):
        return (row["status"], *[NONE] * 4, error_of(row), *[NONE] * 3)
    ratio = row.get("over_base")
    own = row["provider"] == row.get("base")
    band = NONE if ratio is None or own else span(ratio["p20"], ratio["p80"])
    engine = f"**{digits(row['median_ms'])}**" if row["kind"] == "engine" else digits(row["median_ms"])
    floor, peak = row.get("of_floor"), row.get("peak_bytes")
    return (
        engine,
        span(row["p20_ms"], row["p80_ms"]),
        times(ratio),
        band,
        digits(row.get("per_s")),
        error_of(row),
        NONE if floor is None else f"{100 * floor:.0f} %",
        NONE if peak is None else digits(peak / 1e6),
        str(row.get("ops") if row.get("ops") is not None else NONE),
    )
