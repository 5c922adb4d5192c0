"""Pictures of benchmark rows, drawn without a display: speed, memory, sweeps, and where the time goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from reluxfast.benchmarks.fits import Fit, fits
from reluxfast.benchmarks.pictures import bars, lines, style
from reluxfast.benchmarks.results_file import Row, points, timed
from reluxfast.benchmarks.wording import network_of

__all__ = ["draw", "file_of", "pictures"]

PANELS = 9


def pictures(rows: Sequence[Row]) -> dict[str, Callable[[], Figure]]:
    """What there is to draw: file name -> what draws it. Nothing where there are no rows."""
    by_device: dict[str, list[Row]] = {}
    for row in rows:
        by_device.setdefault(str(row["environment"].get("device")), []).append(row)
    found: dict[str, Callable[[], Figure]] = {}
    for device, own in by_device.items():
        found |= {file_of(device, name): make for name, make in _of_device(own).items()}
    return found


def file_of(device: str, name: str) -> str:
    """File of a picture: that of `speed_vgg16` on "cpu" is cpu_speed_vgg16.png."""
    return f"{_slug(device)}_{_slug(name)}.png"


def _of_device(rows: Sequence[Row]) -> dict[str, Callable[[], Figure]]:
    every = points(rows)
    main = [point for point in every if not point[0].get("sweep")]
    found: dict[str, Callable[[], Figure]] = {}
    for name, group in _groups(main).items():
        found[f"speed_{name}"] = partial(bars.speed, group)
        if any(row.get("peak_bytes") is not None and timed(row) for point in group for row in point):
            found[f"memory_{name}"] = partial(bars.memory, group)
    by_axis: dict[str, list[Fit]] = {}
    for fit in fits(rows):
        by_axis.setdefault(fit.axis, []).append(fit)
    for axis, own in by_axis.items():
        found[f"sweep_{axis}"] = partial(lines.sweep, own, axis, style.place(rows[0]))
    if bars.ablations(every):
        found["ablation"] = partial(bars.ablation, every)
    return found


def _groups(main: Sequence[Sequence[Row]]) -> dict[str, list[Sequence[Row]]]:
    """Points that share a picture: those of a network, or of all games, so many at a time."""
    groups: dict[str, list[Sequence[Row]]] = {}
    for point in main:
        maps = point[0].get("group") == "maps"
        groups.setdefault(network_of(point[0]["case"]) if maps else "games", []).append(point)
    pages: dict[str, list[Sequence[Row]]] = {}
    for name, group in groups.items():
        for start in range(0, len(group), PANELS):
            page = f"_page{start // PANELS + 1}" if start else ""
            pages[name + page] = group[start : start + PANELS]
    return pages


def draw(rows: Sequence[Row], folder: str | Path) -> list[Path]:
    """Writes every picture of these rows as PNG into a folder, which is made; the files in the order of drawing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make in pictures(rows).items():
        paths.append(folder / name)
        make().savefig(paths[-1], dpi=style.DPI)
    return paths


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unknown"
