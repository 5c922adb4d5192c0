"""Pictures of sweeps: time along an axis, both logarithmic, with the fitted exponents."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reluxfast.benchmarks.fits import Fit
from reluxfast.benchmarks.pictures import style
from reluxfast.benchmarks.wording import setting

WIDTH, HEIGHT, TOP = 4.3, 3.3, 0.6
# Axes that count what is explained in one call: time is drawn for one of them.
PER_ITEM = {"batch": "image"}


def sweep(fits: Sequence[Fit], axis: str, below: str) -> Figure:
    """One panel for each case and setting, one line for each provider."""
    panels: dict[tuple[str, str], list[Fit]] = {}
    for fit in fits:
        panels.setdefault((fit.case, setting(fit.fixed)), []).append(fit)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    height = rows * HEIGHT + TOP
    figure = Figure(figsize=(max(WIDTH * columns, 6.0), height), layout="constrained", dpi=style.DPI)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - TOP / height), h_pad=0.06, w_pad=0.08)
    for number, ((case, fixed), lines) in enumerate(panels.items(), start=1):
        ax = figure.add_subplot(rows, columns, number)
        _draw(ax, lines, axis)
        ax.set_title(f"{case}\n{fixed}", fontsize=9)
    style.titled(figure, f"Time along {axis}", below)
    return figure


def _labels(values: Sequence[float]) -> list[str]:
    """Values as labels of a logarithmic axis; none where it would run into the one before."""
    whole = math.log(values[-1] / values[0])
    labels, last = [], -math.inf
    for value in values:
        near = math.log(value) - last < 0.06 * whole
        labels.append("" if near else f"{value:g}")
        last = last if near else math.log(value)
    return labels


def _draw(ax: Axes, lines: Sequence[Fit], axis: str) -> None:
    item = PER_ITEM.get(axis)
    for fit in lines:
        by = fit.values if item else (1,) * len(fit.values)
        median, low, high = (
            [ms / n for ms, n in zip(times, by, strict=True)] for times in (fit.median_ms, fit.p20_ms, fit.p80_ms)
        )
        label = f"{fit.provider}: {axis}^{fit.exponent:.2f} ± {fit.standard_error:.2f}"
        hue = style.colour(fit.provider)
        ax.fill_between(fit.values, low, high, color=hue, alpha=0.2, linewidth=0)
        ax.plot(
            fit.values, median, color=hue, label=label, marker=style.marker(fit.provider), markersize=4,
            linestyle=style.line_style(fit.provider), linewidth=1.4,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    values = sorted({value for fit in lines for value in fit.values})
    ax.set_xticks(values, _labels(values))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.tick_params(labelsize=7)
    ax.grid(True, which="major", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel(axis, fontsize=8)
    ax.set_ylabel(f"ms per {item}" if item else "ms per call", fontsize=8)
    low, high = ax.get_ylim()
    subs = (1.0, 2.0, 5.0) if high > 10 * low else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    ax.yaxis.set_major_locator(LogLocator(10, subs=subs, numticks=20))
    # Room above the lines for the names.
    ax.set_ylim(low, high * (high / low) ** (0.12 + 0.09 * len(lines)))
    ax.legend(
        fontsize=6.5, loc="upper left", frameon=False, title="time of a call ~", title_fontsize=6.5, alignment="left"
    )
    ax.spines[["top", "right"]].set_visible(False)
