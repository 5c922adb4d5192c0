"""Numbers and settings of rows as readers see them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

NONE = "-"


def digits(value: float | None, count: int = 3) -> str:
    """A number with so many significant digits and without an exponent: 1362, 58.9, 0.0123."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{count - 1}e}"))))
    return f"{value:.{max(0, count - 1 - size)}f}"


def error(value: float | None) -> str:
    """An error: 1.2e-04."""
    return NONE if value is None else f"{value:.1e}"


def error_of(row: Mapping[str, Any]) -> str:
    """The error of a row, on the small copy where there is no other, with its unit unless that is relative L2."""
    found = row.get("error") if row.get("error") is not None else row.get("small_error")
    unit = row.get("error_in") or "relative L2"
    if found is None or unit == "relative L2":
        return error(found)
    return f"{digits(found, 2)} s.e." if unit == "standard errors" else f"{error(found)} {unit}"


def span(low: float | None, high: float | None) -> str:
    """A band: 7.1-8.2."""
    return NONE if low is None or high is None else f"{digits(low)}-{digits(high)}"


def times(ratio: Mapping[str, float] | None) -> str:
    """A ratio of times: 2.32x."""
    return NONE if ratio is None else f"{digits(ratio['median'])}x"


def setting(axes: Mapping[str, Any], leave_out: Iterable[str] = ()) -> str:
    """Axes in words: batch 4, size 224, float32."""
    left_out = set(leave_out)
    return ", ".join(
        str(value) if axis == "dtype" else f"{axis} {value}" for axis, value in axes.items() if axis not in left_out
    )


def network_of(case: str) -> str:
    """What stands before the stroke of a case's name."""
    return case.partition("/")[0]


def method_of(case: str) -> str:
    """What stands behind the stroke of a case's name, the name itself where there is none."""
    return case.partition("/")[2] or case


def listed(values: Iterable[object]) -> str:
    """Every value once, in the order of their coming."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
