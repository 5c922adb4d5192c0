"""Two files of rows beside each other: what became faster or slower, and what is noise.

Two runs *agree* on a row where their 20-80 % bands overlap, bands as the table prints them: of the rounds of one run.
For the time that asks for a machine as fast in the second run as in the first, and a shared machine is not: clocks
and neighbours differ, for minutes at a time, by more than a band is wide. The ratio to the engine is taken within
each round, where providers follow on one another, so most of that cancels; what is left in it is noise of the
provider and of the engine. A change of code shows in the ratio of a peer to the engine, or in the engine's own time
where the times of the peers agree; rows of the engine itself, whose ratio is 1, are not counted among the ratios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reluxfast.benchmarks.results_file import Row, identity, latest, timed
from reluxfast.benchmarks.rows import table
from reluxfast.benchmarks.wording import NONE, digits, error, listed, setting, span

Band = tuple[float, float, float]
# Errors of the same arithmetic differ by less than this factor when blocks are summed in another order.
SAME_ERROR = 1.1


@dataclass(frozen=True)
class Pair:
    """A row of A and the one of B that measures the same.

    Attributes:
        a, b: the rows.
        time: (median, low, high) of B's time over A's; rounds of two runs are no pairs, so low is B's 20 % over A's
            80 % quantile, high the reverse. None: not timed in both.
        ratio: the same of the times over the engine; None for the engine, and where either has none or another base.
        time_agrees, ratio_agrees: whether the 20-80 % bands overlap; None where there is nothing to compare.
    """

    a: Row
    b: Row
    time: Band | None
    ratio: Band | None
    time_agrees: bool | None
    ratio_agrees: bool | None

    @property
    def error_changed(self) -> bool:
        """Whether the status changed, or the error by more than rounding does."""
        before, after = self.a.get("error"), self.b.get("error")
        if self.a["status"] != self.b["status"] or (before is None) != (after is None):
            return True
        return before is not None and max(before, after) > SAME_ERROR * min(before, after)


@dataclass(frozen=True)
class Comparison:
    """All pairs in the order of A, and what only one of the two has."""

    pairs: tuple[Pair, ...]
    only_a: tuple[Row, ...]
    only_b: tuple[Row, ...]

    def agreement(self, what: str) -> tuple[int, int]:
        """How many of how many pairs agree in their "time" or in their "ratio"."""
        found = [getattr(pair, f"{what}_agrees") for pair in self.pairs]
        return sum(agrees is True for agrees in found), sum(agrees is not None for agrees in found)


def compare(a: Sequence[Row], b: Sequence[Row]) -> Comparison:
    """Rows matched by what they measure and by their sweep; of several the last."""
    of_a, of_b = ({_key(row): row for row in latest(rows)} for rows in (a, b))
    pairs = tuple(_pair(row, of_b[key]) for key, row in of_a.items() if key in of_b)
    only_a = tuple(row for key, row in of_a.items() if key not in of_b)
    return Comparison(pairs, only_a, tuple(row for key, row in of_b.items() if key not in of_a))


def _key(row: Row) -> tuple:
    return identity(row), row.get("sweep", ""), bool(row.get("tiny"))


def _pair(a: Row, b: Row) -> Pair:
    first, second = (_time(a), _time(b)) if timed(a) and timed(b) else (None, None)
    time, time_agrees = _against(first, second)
    ratio, ratio_agrees = _against(_over(a), _over(b)) if a.get("base") == b.get("base") else (None, None)
    return Pair(a, b, time, ratio, time_agrees, ratio_agrees)


def _time(row: Row) -> Band:
    return row["median_ms"], row["p20_ms"], row["p80_ms"]


def _over(row: Row) -> Band | None:
    ratio: Mapping[str, float] | None = row.get("over_base")
    if ratio is None or not timed(row) or row["provider"] == row.get("base"):
        return None
    return ratio["median"], ratio["p20"], ratio["p80"]


def _against(a: Band | None, b: Band | None) -> tuple[Band | None, bool | None]:
    if a is None or b is None:
        return None, None
    quotient = (b[0] / a[0], b[1] / a[2], b[2] / a[1])
    return quotient, a[1] <= b[2] and b[1] <= a[2]


def name(row: Row) -> str:
    """Case, setting and series of a row in words."""
    parts = [row["case"], setting(row["axes"])]
    parts += ["F.relu"] if row.get("functional") else []
    parts += [f"sweep {row['sweep']}"] if row.get("sweep") else []
    return " ".join(part for part in parts if part)


def _changed_error(pair: Pair) -> str:
    before, after = error(pair.a.get("error")), error(pair.b.get("error"))
    if not pair.error_changed:
        return before
    if pair.a["status"] != pair.b["status"]:
        return f"{pair.a['status']} {before} -> {pair.b['status']} {after}"
    return f"{before} -> {after}"


def _cells(pair: Pair) -> tuple[str, ...]:
    def shown(band: Band | None) -> tuple[str, str]:
        return (NONE, NONE) if band is None else (digits(band[0]), span(*band[1:]))

    def yes(agrees: bool | None) -> str:
        return {True: "yes", False: "NO", None: NONE}[agrees]

    a, b = digits(pair.a.get("median_ms")), digits(pair.b.get("median_ms"))
    time, ratio = (*shown(pair.time), yes(pair.time_agrees)), (*shown(pair.ratio), yes(pair.ratio_agrees))
    return pair.a["provider"], a, b, *time, *ratio, _changed_error(pair)


def summary(comparison: Comparison) -> list[str]:
    """How many rows agree, one line for the time and one for the ratio to the engine."""
    lines = []
    for what, words in (("time", "time"), ("ratio", "ratio to the engine")):
        agree, of = comparison.agreement(what)
        share = f" ({100 * agree / of:.0f} %)" if of else ""
        lines.append(f"{agree} of {of} rows agree within the printed band ({words}){share}")
    changed = sum(pair.error_changed for pair in comparison.pairs)
    lines.append(f"{changed} of {len(comparison.pairs)} rows changed their status, or their error by more than 10 %")
    return lines


def differences(found: Comparison, names: tuple[str, str] = ("A", "B")) -> list[str]:
    """What differs between the machines and the code of the two, a line each."""
    lines = []
    for key in ("commit", "device", "cpu", "cpu_capability", "matmul_precision"):
        sides = [listed(getattr(pair, side)["environment"].get(key) for pair in found.pairs) for side in ("a", "b")]
        if sides[0] != sides[1]:
            lines.append(f"{key}: {names[0]} {sides[0]}; {names[1]} {sides[1]}")
    packages = dict.fromkeys(name for pair in found.pairs for name in pair.a["environment"].get("versions", {}))
    for name in packages:
        sides = [
            listed(getattr(pair, side)["environment"].get("versions", {}).get(name) for pair in found.pairs)
            for side in ("a", "b")
        ]
        if sides[0] != sides[1]:
            lines.append(f"{name}: {names[0]} {sides[0] or NONE}; {names[1]} {sides[1] or NONE}")
    return lines


def compare_text(found: Comparison, names: tuple[str, str] = ("A", "B")) -> str:
    """What differs in machine and code, a table for each case and setting, what is missing on one side, the summary."""
    first, second = names
    ratio = f"{second}/{first}"
    header = (
        "provider",
        f"{first} ms",
        f"{second} ms",
        ratio,
        "band",
        "agree",
        f"over engine {ratio}",
        "band",
        "agree",
    )
    blocks: dict[str, list[Pair]] = {}
    for pair in found.pairs:
        blocks.setdefault(name(pair.a), []).append(pair)
    parts = [f"{title}\n{table((*header, 'error'), [_cells(p) for p in pairs])}" for title, pairs in blocks.items()]
    for side, rows in ((first, found.only_a), (second, found.only_b)):
        if rows:
            missing = "\n".join(f"  {name(row)}: {row['provider']}" for row in rows)
            parts.append(f"only in {side}:\n{missing}")
    if not found.pairs:
        same = "case, axes, provider, device, threads, TF32 and sweep, and be both --functional or --tiny, or neither"
        parts.append(f"no row of one is found in the other: they have to have the same {same}")
    other = differences(found, names)
    return "\n\n".join([*(["\n".join(other)] if other else []), *parts, "\n".join(summary(found))])
