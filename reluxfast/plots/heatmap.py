"""One attribution as a figure: heat maps over images, bars for features, coloured signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reluxfast.errors import InvalidInput
from reluxfast.plots import series
from reluxfast.plots.labels import panel_title
from reluxfast.plots.maps import Scale, as_array, common_scale, grey, position_map, strongest_slice, unit

PER_ROW = 8
# Black pixels are drawn as mid-grey, so that colours on them stay readable.
DARKEST = -1.0


def draw_heatmap(ax: Axes, heat: np.ndarray, scale: Scale, image: np.ndarray | None = None, alpha: float = 0.6):
    """Draw `heat` `(H, W)` over the grey version of `image` `(C, h, w)`; without an image the map is opaque."""
    height, width = heat.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    if image is not None:
        ax.imshow(grey(image), cmap="gray", vmin=DARKEST, vmax=1, extent=extent, interpolation="nearest")
    drawn = ax.imshow(
        heat, cmap=scale.colours, vmin=scale.low, vmax=scale.high, extent=extent,
        alpha=alpha if image is not None else None, interpolation="nearest",
    )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    return drawn


def plot_attribution(
    attribution,
    images=None,
    ax: Axes | Sequence[Axes] | None = None,
    *,
    clip: float = 99.0,
    share_scale: bool = True,
    alpha: float = 0.6,
    classes: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Draw an attribution, one panel for each row of the batch (and for each class of `target="all"`).

    Values `(N, C, H, W)` become heat maps with channels summed, values `(N, C, L)` coloured signals, values `(N, F)`
    bars, volumes their strongest slice. Signed maps are coloured from blue (against) over white (0) to red (for) on a
    range that is symmetric about 0; maps without a negative value on a sequential range from 0.

    Args:
        attribution: a `reluxfast.Attribution`.
        images: the explained inputs, like `attribution.values`; drawn in grey underneath. None leaves them out.
        ax: one axes, or as many as there are panels; None makes a figure.
        clip: percentile of the absolute values at which the colours saturate.
        share_scale: one scale for the whole figure (True) or one for each panel.
        alpha: opacity of the heat map over the image.
        classes: names of the classes, for titles.
        feature_names: names of the features, for bars.

    Returns:
        the figure and the axes, an object array `(panels,)`.

    Raises:
        InvalidInput: `images` or `ax` do not match the values.
    """
    panels = _panels(attribution, images, classes)
    figure, axes = _axes(ax, panels)
    scales = _scales(panels, clip, share_scale)
    drawn: dict[int, list[Any]] = {}
    for place, panel, scale in zip(axes, panels, scales, strict=True):
        item, image = panel["values"], panel["image"]
        if item.ndim <= 1:
            series.draw_bars(place, item, feature_names)
            place.set_xlabel(unit(attribution.method), fontsize=8)
        elif item.ndim == 2:
            artist = series.draw_signal(place, item, scale, image)
            drawn.setdefault(id(scale), [artist, []])[1].append(place)
        else:
            artist = draw_heatmap(place, position_map(item), scale, image, alpha)
            drawn.setdefault(id(scale), [artist, []])[1].append(place)
        place.set_title(panel["title"], fontsize=9)
    for artist, places in drawn.values():
        bar = figure.colorbar(artist, ax=places, fraction=0.046, pad=0.02)
        bar.set_label(unit(attribution.method), fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure, axes


def _panels(attribution, images, classes) -> list[dict[str, Any]]:
    several = isinstance(attribution.values, (tuple, list))
    inputs = attribution.values if several else (attribution.values,)
    given = (images if several else (images,)) if images is not None else (None,) * len(inputs)
    if len(given) != len(inputs):
        raise InvalidInput("images", f"must be one for each of the {len(inputs)} inputs", len(given))
    panels = []
    for number, (values, pictures) in enumerate(zip(inputs, given, strict=True)):
        values = as_array(values)
        pictures = None if pictures is None else as_array(pictures)
        if pictures is not None and len(pictures) != len(values):
            raise InvalidInput("images", f"must hold one image for each of the {len(values)} rows", len(pictures))
        name = f"input {number}" if several else ""
        panels += _rows(attribution, values, pictures, classes, name)
    if not panels:
        raise InvalidInput("attribution", "must hold at least one row to draw", "an empty batch")
    return panels


def _rows(attribution, values, pictures, classes, name) -> list[dict[str, Any]]:
    every_class = isinstance(attribution.target, str) and attribution.target == "all"
    panels = []
    for row, item in enumerate(values):
        image = None if pictures is None else pictures[row]
        for label, part in enumerate(item) if every_class else [(None, item)]:
            if image is not None and part.ndim >= 2 and (image.ndim != part.ndim or image.shape[1:] != part.shape[1:]):
                raise InvalidInput("images", f"must have the positions of the values {part.shape[1:]}", image.shape)
            title = panel_title(attribution, row, label, part.sum(), classes)
            if part.ndim == 4:
                title += f", slice {strongest_slice(part)} of {part.shape[1]}"
            panels.append({"values": part, "image": image, "title": f"{name}\n{title}" if name else title})
    return panels


def _axes(ax, panels) -> tuple[Figure, np.ndarray]:
    if ax is not None:
        axes = np.array([ax] if isinstance(ax, Axes) else list(np.ravel(ax)), dtype=object)
        if len(axes) != len(panels):
            raise InvalidInput("ax", f"must hold one axes for each of the {len(panels)} panels", len(axes))
        return axes[0].figure, axes
    columns = min(len(panels), PER_ROW)
    lines = -(-len(panels) // columns)
    width, height = _panel_size(panels[0]["values"])
    figure = Figure(figsize=(width * columns + 1.0, height * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in grid[len(panels) :]:
        spare.set_axis_off()
    return figure, grid[: len(panels)]


def _panel_size(item: np.ndarray) -> tuple[float, float]:
    """Inches for one panel with its title: maps keep their proportions."""
    if item.ndim <= 2:
        return 4.2, 3.2
    height, width = position_map(item).shape
    return (2.4, min(2.4 * height / width, 6.0) + 0.5) if height <= width else (max(2.4 * width / height, 1.2), 2.9)


def _scales(panels, clip, share) -> list[Scale]:
    maps = [position_map(p["values"]) if p["values"].ndim >= 2 else np.atleast_1d(p["values"]) for p in panels]
    if share:
        return [common_scale(maps, clip)] * len(panels)
    return [common_scale([m], clip) for m in maps]
