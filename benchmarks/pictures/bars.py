"""Pictures of horizontal bars: speed, memory, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from reluxfast.benchmarks.pictures import style
from reluxfast.benchmarks.results_file import Row, timed
from reluxfast.benchmarks.wording import digits, method_of, network_of

BAR, EDGE, TOP = 0.21, 0.95, 0.6
PANEL = 4.3
# Beyond this ratio of the longest to the shortest bar short ones could not be told apart.
LOG_FROM = 15.0
_NOTE = 46


@dataclass(frozen=True)
class Bar:
    """A bar of a panel: of a provider, labelled `name`; without a value its text stands in its place."""

    provider: str
    name: str
    value: float | None
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """Bars under a title; `one` is the value where a line is drawn, None for no line."""

    title: str
    bars: Sequence[Bar]
    label: str
    one: float | None = None


def figure_of(panels: Sequence[Panel], title: str, below: str) -> Figure:
    """Panels in up to three columns, each row as high as its longest panel needs."""
    columns = min(3, len(panels))
    lines = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [EDGE + BAR * max(len(panel.bars) for panel in line) for line in lines]
    height = sum(heights) + TOP
    figure = Figure(figsize=(max(PANEL * columns, 6.0), height), layout="constrained", dpi=style.DPI)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - TOP / height), h_pad=0.06, w_pad=0.08)
    grid = figure.add_gridspec(len(lines), columns, height_ratios=heights)
    for number, panel in enumerate(panels):
        longest = max(len(other.bars) for other in lines[number // columns])
        _draw(figure.add_subplot(grid[number // columns, number % columns]), panel, len(panel.bars) / longest)
    style.titled(figure, title, below)
    return figure


def _draw(ax: Axes, panel: Panel, share: float) -> None:
    """Draws a panel; `share`: of the bars that have room, so that bars of a line are equally thick."""
    values = [bar.value for bar in panel.bars if bar.value is not None]
    ends = [end for bar in panel.bars for end in (bar.value, bar.low, bar.high) if end is not None and end > 0]
    log = bool(values) and min(values) > 0 and max(values) > LOG_FROM * min(values)
    left = min(panel.one or min(ends), *ends) * 0.7 if log else 0.0
    start = panel.one if log and panel.one else left
    longest = max(ends, default=1.0)
    right = longest * (longest / left) ** 0.5 if log else 1.6 * longest
    for place, bar in zip(range(len(panel.bars))[::-1], panel.bars, strict=True):
        if bar.value is None:
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.text(
                0.015, place, bar.text, transform=ax.get_yaxis_transform(), va="center", fontsize=6.5, color="0.4",
                bbox=behind,
            )  # fmt: skip
            continue
        ax.barh(
            place, bar.value - start, left=start, height=0.72 * share, color=style.colour(bar.provider),
            hatch=style.hatch(bar.provider), edgecolor="white", linewidth=0,
        )  # fmt: skip
        end = max(bar.value, bar.high or 0.0, panel.one or 0.0)
        if bar.low is not None and bar.high is not None:
            ax.plot([bar.low, bar.high], [place, place], color="black", linewidth=1, solid_capstyle="butt")
        ax.annotate(bar.text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=7)
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if panel.one is not None and values:
        ax.axvline(panel.one, color="0.2", linewidth=0.8, zorder=0.5)
    ax.set_xlim(left, right)
    ax.set_ylim(-0.6, len(panel.bars) - 0.4)
    ax.set_yticks(range(len(panel.bars))[::-1], [bar.name for bar in panel.bars], fontsize=7.5)
    ax.tick_params(axis="x", labelsize=7)
    ax.tick_params(axis="y", length=0)
    ax.set_title(panel.title, fontsize=9)
    ax.set_xlabel(panel.label + (", logarithmic" if log else ""), fontsize=7.5)
    ax.spines[["top", "right"]].set_visible(False)
    if not values:
        ax.set_xticks([])


def _missing(row: Row) -> Bar:
    text = style.short(f"{row['status']}: {row.get('reason') or 'not timed'}", _NOTE)
    return Bar(row["provider"], row["provider"], None, text)


def speed(points: Sequence[Sequence[Row]]) -> Figure:
    """Time over the engine's, a panel for each point; times in ms where the engine was not timed."""
    left_out = style.common(points)
    panels = []
    for point in points:
        base = next((row.get("base") for row in point if row.get("over_base")), None)
        bars = [_speed_bar(row, base) for row in point]
        name = method_of(point[0]["case"]) if point[0].get("group") == "maps" else point[0]["case"]
        title = style.heading(point[0], name, list(left_out))
        label = f"time over that of {base}" if base else "ms per call"
        panels.append(Panel(title, bars, label, 1.0 if base else None))
    return figure_of(panels, f"{_networks(points)}: time", _below(points, "bars: medians, strokes: 20-80 %"))


def _speed_bar(row: Row, base: str | None) -> Bar:
    if not timed(row):
        return _missing(row)
    provider, ms = row["provider"], f"{digits(row['median_ms'])} ms"
    if base is not None and (row.get("base") != base or "over_base" not in row):
        return Bar(provider, provider, None, f"of another run: {ms}")
    if base is None:
        return Bar(provider, provider, row["median_ms"], ms, row["p20_ms"], row["p80_ms"])
    ratio = row["over_base"]
    if provider == base:
        # Its ratio to itself has no band; that of its time says how much it varied.
        low, high = row["p20_ms"] / row["median_ms"], row["p80_ms"] / row["median_ms"]
        return Bar(provider, provider, 1.0, ms, low, high)
    return Bar(provider, provider, ratio["median"], f"{digits(ratio['median'])}x, {ms}", ratio["p20"], ratio["p80"])


def memory(points: Sequence[Sequence[Row]]) -> Figure | None:
    """Peak memory beyond model and input, a panel for each point; None where nobody measured any."""
    left_out = style.common(points)
    panels = []
    for point in points:
        known = [row for row in point if row.get("peak_bytes") is not None and timed(row)]
        bars = [
            Bar(row["provider"], row["provider"], row["peak_bytes"] / 1e6, f"{digits(row['peak_bytes'] / 1e6)} MB")
            for row in known
        ]
        if bars:
            name = method_of(point[0]["case"]) if point[0].get("group") == "maps" else point[0]["case"]
            panels.append(Panel(style.heading(point[0], name, list(left_out)), bars, "peak MB beyond model and input"))
    return figure_of(panels, f"{_networks(points)}: memory", _below(points, "one call")) if panels else None


# From a peer's way to the engine's, each step with what it adds.
STAGES = (
    ("zennit", "peer: zennit"),
    ("algebra", "rule algebra, plain torch"),
    ("reluxfast reference", "+ layout and graph"),
    ("reluxfast cpp", "+ fused kernels"),
    ("reluxfast cuda", "+ fused kernels"),
)


def stages(point: Sequence[Row], others: Sequence[Sequence[Row]] = ()) -> list[tuple[str, Row]]:
    """The steps of the way from a peer to the engine that were timed, and the engine in a smaller type at its end."""
    of = {row["provider"]: row for row in point if timed(row)}
    found = [(words, of[name]) for name, words in STAGES if name in of]
    axes = point[0]["axes"]
    for other in others:
        there = other[0]["axes"]
        same = other[0]["case"] == point[0]["case"] and {**there, "dtype": ""} == {**axes, "dtype": ""}
        if same and there.get("dtype") in ("bfloat16", "float16"):
            engine = next((row for row in other if row["kind"] == "engine" and timed(row)), None)
            found += [(f"+ {there['dtype']}", engine)] if engine else []
    return found


def step(before: float, after: float) -> str:
    """What a step changed, in words."""
    return f"{digits(before / after)}x faster" if after <= before else f"{digits(after / before)}x slower"


def ablations(points: Sequence[Sequence[Row]]) -> list[Sequence[Row]]:
    """The points that show where the time goes: those with the algebra alone between peer and engine."""
    return [point for point in points if any(row["provider"] == "algebra" and timed(row) for row in point)]


def ablation(points: Sequence[Sequence[Row]]) -> Figure | None:
    """From a peer to the engine step by step, a panel for each point; None where there is no such point."""
    chosen = ablations(points)
    panels = []
    for point in chosen:
        bars, before = [], None
        for words, row in stages(point, points):
            ms = row["median_ms"]
            text = ", ".join([f"{digits(ms)} ms", *([step(before, ms)] if before else [])])
            bars.append(Bar(row["provider"], words, ms, text, row["p20_ms"], row["p80_ms"]))
            before = ms
        panels.append(Panel(style.heading(point[0], point[0]["case"], ()), bars, "ms per call"))
    if not panels:
        return None
    return figure_of(panels, "Where the time goes", _below(chosen, "each step over the one above"))


def _networks(points: Sequence[Sequence[Row]]) -> str:
    games = any(point[0].get("group") != "maps" for point in points)
    return "Games" if games else ", ".join(dict.fromkeys(network_of(point[0]["case"]) for point in points))


def _below(points: Sequence[Sequence[Row]], words: str) -> str:
    parts = [style.setting(style.common(points)), style.place(points[0][0]), words]
    return "; ".join(part for part in parts if part)
