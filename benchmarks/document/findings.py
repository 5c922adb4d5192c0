"""What the rows say: bars met and missed, where the engine loses, who is wrong, how well two runs agree."""

from __future__ import annotations

from collections.abc import Sequence

from reluxfast.benchmarks.bars import HEADER, MET, cells, evaluate, tally
from reluxfast.benchmarks.comparison import Pair, compare, summary
from reluxfast.benchmarks.comparison import name as pair_name
from reluxfast.benchmarks.document.text import joined, md_table, where
from reluxfast.benchmarks.results_file import Row, is_peer, timed
from reluxfast.benchmarks.wording import NONE, digits, error, listed, span, times

Points = Sequence[Sequence[Row]]


def bars(rows: Sequence[Row]) -> str:
    """Every bar of the project with what was measured."""
    found = evaluate(rows)
    lines = [(*line[:-1], line[-1] if line[-1] == MET else f"**{line[-1]}**") for line in map(cells, found)]
    words = (
        f"What the project asks of itself: {tally(found)}. Asked with >=: time of the provider over the engine's; "
        "with <=: time of the engine over that of the library calls alone. A bar is missed where the median is short "
        "of it."
    )
    return joined("### Bars", words, md_table(HEADER, lines))


def losses(every: Points) -> str:
    """Every row in which a right peer is faster than the engine, or in which the engine is wrong or missing."""
    faster = [row for point in every for row in point if _beats(row)]
    failed = [row for point in every for row in point if row["kind"] == "engine" and not timed(row)]
    parts = ["### Where we lose"]
    if not faster:
        parts.append("No right peer was faster than the engine in any row.")
    else:
        parts.append(f"Rows in which a right peer was faster than the engine: {len(faster)}.")
        lines = [
            (row["case"], where(row), row["provider"], digits(row["median_ms"]), times(row["over_base"]),
             span(row["over_base"]["p20"], row["over_base"]["p80"]), _clear(row))
            for row in faster
        ]  # fmt: skip
        header = ("case", "at", "provider", "ms", "over engine", "20-80 %", "")
        parts.append(md_table(header, lines))
    if failed:
        parts.append(f"Rows in which a backend of the engine was wrong or could not run: {len(failed)}.")
        parts.append(_failed(failed))
    else:
        parts.append("No backend of the engine was wrong or could not run.")
    return joined(*parts)


def _beats(row: Row) -> bool:
    ratio = row.get("over_base")
    return is_peer(row) and timed(row) and ratio is not None and ratio["median"] < 1


def _clear(row: Row) -> str:
    return "beyond the band" if row["over_base"]["p80"] < 1 else "within the band"


def failures(every: Points) -> str:
    """Peers and floors that are wrong or cannot do a case, with the reason; cases with the same one in a line."""
    failed = [row for point in every for row in point if row["kind"] != "engine" and not timed(row)]
    words = "Who else was not timed: values that are wrong, or no way to do what is asked."
    return joined("### Wrong or refused", words, _failed(failed)) if failed else ""


def _failed(rows: Sequence[Row]) -> str:
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["provider"], row["status"], row.get("reason") or "not timed"), []).append(row)
    lines = [
        (provider, status, listed(row["case"] for row in group), reason,
         _largest_error(group))
        for (provider, status, reason), group in groups.items()
    ]  # fmt: skip
    return md_table(("provider", "", "in", "reason", "largest error"), lines)


def _largest_error(rows: Sequence[Row]) -> str:
    found = [row["error"] for row in rows if row.get("error") is not None]
    return error(max(found)) if found else NONE


def agreement(rows: Sequence[Row], again: Sequence[Row]) -> str:
    """How many rows of two runs agree, and those that do not."""
    title = "### Two runs"
    if not again:
        return joined(title, "No second run is stored.")
    found = compare(rows, again)
    words = (
        "Two runs agree on a row where their 20-80 % bands overlap. The time asks for a machine as fast in the second "
        "run as in the first; in the ratio to the engine, taken within each round, most of the machine's drift cancels."
    )
    missing = f"Only in the first run: {len(found.only_a)} rows; only in the second: {len(found.only_b)}."
    apart = [pair for pair in found.pairs if False in (pair.time_agrees, pair.ratio_agrees)]
    lines = [_apart(pair) for pair in apart]
    header = ("row", "provider", "ms", "again", "second over first", "band", "over engine", "again")
    table = [md_table(header, lines)] if lines else []
    return joined(title, words, "\n".join(f"- {line}" for line in summary(found)), missing, *table)


def _apart(pair: Pair) -> tuple[str, ...]:
    a, b = pair.a, pair.b
    time = pair.time
    quotient = (NONE, NONE) if time is None else (f"{digits(time[0])}x", span(*time[1:]))
    mark = "**" if pair.ratio_agrees is False else ""
    ratios = [f"{mark}{times(row.get('over_base'))}{mark}" for row in (a, b)]
    return pair_name(a), a["provider"], digits(a.get("median_ms")), digits(b.get("median_ms")), *quotient, *ratios
