"""How time grows along an axis: exponents fitted to the rows of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reluxfast.benchmarks.results_file import Row, timed
from reluxfast.benchmarks.rows import table
from reluxfast.benchmarks.wording import digits, setting

LEAST_POINTS = 3


@dataclass(frozen=True)
class Fit:
    """time = constant * axis ** exponent, by least squares on logarithms.

    Attributes:
        case, provider: of the rows.
        axis: along which they lie.
        fixed: the other axes, equal in all of them.
        device: where they were measured.
        values, median_ms: the points, by growing value.
        p20_ms, p80_ms: their bands.
        exponent: slope of log time over log value.
        standard_error: of the exponent, from the scatter about the line; it says nothing of a bend.
        r2: share of the variance of log time that the line explains; 1 where time does not vary.
    """

    case: str
    provider: str
    axis: str
    fixed: Mapping[str, Any]
    device: str
    values: tuple[float, ...]
    median_ms: tuple[float, ...]
    exponent: float
    standard_error: float
    r2: float
    p20_ms: tuple[float, ...]
    p80_ms: tuple[float, ...]


def line(values: Sequence[float], times: Sequence[float]) -> tuple[float, float, float]:
    """Exponent, its standard error and R^2 of times over at least three values, all positive."""
    x, y = np.log(np.asarray(values, dtype=np.float64)), np.log(np.asarray(times, dtype=np.float64))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    rest, whole = float(((y - slope * x) ** 2).sum()), float(y @ y)
    return slope, math.sqrt(rest / (len(x) - 2) / float(x @ x)), 1 - rest / whole if whole > 0 else 1.0


def fits(rows: Sequence[Row]) -> list[Fit]:
    """The fit of each case, provider and axis along which at least three numbers were timed, all else equal.

    Where a point was timed more than once, the row of the sweep that is named like the axis counts, then any sweep's,
    then the last.
    """
    series: dict[tuple, dict[float, Row]] = {}
    for row in rows:
        if not timed(row):
            continue
        for axis, value in row["axes"].items():
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                points = series.setdefault(_series(row, axis), {})
                if value not in points or _rank(row, axis) >= _rank(points[value], axis):
                    points[value] = row
    return [_fit(key[1], points) for key, points in series.items() if len(points) >= LEAST_POINTS]


def _series(row: Row, axis: str) -> tuple:
    others = tuple(sorted((name, str(value)) for name, value in row["axes"].items() if name != axis))
    environment = row["environment"]
    place = environment.get("device"), environment.get("threads")
    return row["case"], axis, row["provider"], others, bool(row.get("functional")), bool(row.get("tiny")), place


def _rank(row: Row, axis: str) -> int:
    sweep = row.get("sweep", "")
    return 2 if sweep == axis else int(bool(sweep))


def _fit(axis: str, points: Mapping[float, Row]) -> Fit:
    values = tuple(sorted(points))
    median, low, high = (tuple(points[v][key] for v in values) for key in ("median_ms", "p20_ms", "p80_ms"))
    row = points[values[0]]
    fixed = {name: value for name, value in row["axes"].items() if name != axis}
    device = str(row["environment"].get("device"))
    return Fit(row["case"], row["provider"], axis, fixed, device, values, median, *line(values, median), low, high)


HEADER = ("case", "with", "axis", "from-to", "points", "provider", "ms", "exponent", "std. error", "R^2")


def cells(fit: Fit) -> tuple[str, ...]:
    """A fit as a line of a table under HEADER."""
    first, last = fit.values[0], fit.values[-1]
    return (
        fit.case,
        setting(fit.fixed),
        fit.axis,
        f"{first:g}-{last:g}",
        str(len(fit.values)),
        fit.provider,
        f"{digits(fit.median_ms[0])}-{digits(fit.median_ms[-1])}",
        f"{fit.exponent:.2f}",
        f"{fit.standard_error:.2f}",
        f"{fit.r2:.3f}",
    )


def fits_text(rows: Sequence[Row]) -> str:
    """All fits as a table; "" where no axis has enough values."""
    found = fits(rows)
    return table(HEADER, [cells(fit) for fit in found]) if found else ""
