"""Time and deviation of one method on one network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from torch import Tensor

import reluxfast as rx


@dataclass(frozen=True)
class MethodRow:
    """One line of the demo's table.

    Attributes:
        method, model: what explained what.
        images: rows in the timed batch.
        ms_per_image: median wall-clock milliseconds of a batch, divided by its rows.
        worst_relative_error: the largest deviation from the float64 reference, over all layers and backends.
        tolerance: its bound.
        backend: the backends that were compared.
        ok: the deviation is within the bound.
    """

    method: str
    model: str
    images: int
    ms_per_image: float
    worst_relative_error: float
    tolerance: float
    backend: str
    ok: bool


def measure(trained, method: str, x: Tensor, y: Tensor, repeats: int) -> MethodRow:
    """Explain `x` `(N, C, H, W)` for its classes `y` `(N,)`: once to warm up, then `repeats` times; validate 4 rows."""
    options = trained.options(method)
    explainer = rx.Explainer(trained.model, x)
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        explainer.attribute(x, y, method, **options)
        seconds.append(time.perf_counter() - started)
    report = rx.validate(trained.model, x[:4], methods=[method], target=y[:4], layer=trained.layer)
    worst = max(report.rows, key=lambda row: row.worst_relative_error / row.tolerance)
    return MethodRow(
        method=method,
        model=trained.name,
        images=len(x),
        ms_per_image=1e3 * median(seconds[1:]) / len(x),
        worst_relative_error=worst.worst_relative_error,
        tolerance=worst.tolerance,
        backend="+".join(sorted({row.backend for row in report.rows})),
        ok=report.ok,
    )
