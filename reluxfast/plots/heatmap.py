"""One attribution as a figure: heat maps over images, bars for features, coloured signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reluxfast.errors import InvalidInput
from reluxfast.plots import series
from reluxfast.plots.labels import panel_title
from reluxfast.plots.maps import Scale, as_array, colour, common_scale, grey, position_map, strongest_slice, unit

COLUMNS = 4
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
    """Draw an attribution, one panel for each row of the batch (and for each class of `target="all"`), images beside
    their panels, in up to four columns.

    Values `(N, C, H, W)` become heat maps with channels summed, values `(N, C, L)` coloured signals, values `(N, F)`
    bars, volumes their strongest slice. Signed maps are coloured from blue (against) over white (0) to red (for) on a
    range that is symmetric about 0; maps without a negative value on a sequential range from 0.

    Args:
        attribution: a `reluxfast.Attribution`.
        images: the explained inputs, like `attribution.values`; drawn in grey underneath, and pictures `(C, H, W)` once
            more beside. None leaves them out.
        ax: one axes, or as many as there are panels, without pictures beside; None makes a figure.
        clip: percentile of the absolute values at which the colours saturate.
        share_scale: one scale for the whole figure (True) or one for each panel.
        alpha: opacity of the heat map over the image.
        classes: names of the classes, for titles.
        feature_names: names of the features, for bars.

    Returns:
        the figure and the axes of the panels, an object array `(panels,)`.

    Raises:
        InvalidInput: `images` or `ax` do not match the values.
    """
    groups = _groups(attribution, images, classes)
    figure, axes = _own_axes(groups) if ax is None else _given_axes(ax, groups)
    panels = [panel for group in groups for panel in group if panel.values is not None]
    scales = _scales(panels, clip, share_scale)
    drawn: dict[int, tuple[Any, list[Axes]]] = {}
    for place, panel, scale in zip(axes, panels, scales, strict=True):
        place.set_title(panel.title, fontsize=9)
        if panel.values.ndim <= 1:
            series.draw_bars(place, panel.values, feature_names)
            place.set_xlabel(unit(attribution.method), fontsize=8)
            continue
        draw = series.draw_signal if panel.values.ndim == 2 else partial(draw_heatmap, alpha=alpha)
        heat = panel.values if panel.values.ndim == 2 else position_map(panel.values)
        drawn.setdefault(id(scale), (draw(place, heat, scale, panel.image), []))[1].append(place)
    for artist, places in drawn.values():
        whole = ax is None and share_scale
        # One bar for the whole figure stands beside everything, pictures of the input included, and stays thin.
        thin = 8 * figure.get_size_inches()[1] if whole else 20
        bar = figure.colorbar(artist, ax=figure.axes if whole else places, fraction=0.046, pad=0.02, aspect=thin)
        bar.set_label(_meaning(attribution.method, artist), fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure, axes


def _meaning(method: str, drawn) -> str:
    low, high = drawn.get_clim()
    return f"{unit(method)}; red: for, blue: against" if low < 0 < high else unit(method)


@dataclass(frozen=True)
class _Panel:
    """What one axes shows: values over a grey image, or without values the image itself."""

    values: np.ndarray | None
    image: np.ndarray | None
    title: str


def _drawn_values(attribution):
    """Values like the inputs; where players own several elements, positions with their player's value."""
    players = attribution.options.get("players")
    if players is None or attribution.values.dim() == attribution.base_value.dim() + players.dim() - 1:
        return attribution.values
    spread = attribution.on_elements()
    # Channels are summed when drawn; a player is to show its value once.
    return spread if players.dim() < 3 else spread.mean(attribution.base_value.dim(), keepdim=True)


def _groups(attribution, images, classes) -> list[list[_Panel]]:
    """Panels that belong together: of each row its image, if there is one, and its attributions."""
    several = isinstance(attribution.values, (tuple, list))
    given_values = attribution.values if several else (attribution.values,)
    inputs = given_values if several else (_drawn_values(attribution),)
    given = (images if several else (images,)) if images is not None else (None,) * len(inputs)
    if len(given) != len(inputs):
        raise InvalidInput("images", f"must be one for each of the {len(inputs)} inputs", len(given))
    groups = []
    for number, (values, pictures) in enumerate(zip(inputs, given, strict=True)):
        values = as_array(values)
        pictures = None if pictures is None else as_array(pictures)
        if pictures is not None and len(pictures) != len(values):
            raise InvalidInput("images", f"must hold one image for each of the {len(values)} rows", len(pictures))
        name = f"input {number}\n" if several else ""
        # What a player has counts once, on however many positions it is drawn.
        summed = as_array(given_values[number])
        for row, item in enumerate(values):
            picture = None if pictures is None else pictures[row]
            groups.append(_group(attribution, row, item, summed[row], picture, classes, name))
    if not groups:
        raise InvalidInput("attribution", "must hold at least one row to draw", "an empty batch")
    return groups


def _group(attribution, row: int, item, summed, image, classes, name: str) -> list[_Panel]:
    every_class = isinstance(attribution.target, str) and attribution.target == "all"
    if attribution.target is None and attribution.base_value is not None:
        every_class = attribution.base_value.dim() == 2  # coalition methods explain every output unless told
    group = []
    parts = zip(item, summed, strict=True) if every_class else [(item, summed)]
    for label, (part, whole) in enumerate(parts):
        if image is not None and part.ndim >= 2 and (image.ndim != part.ndim or image.shape[1:] != part.shape[1:]):
            raise InvalidInput("images", f"must have the positions of the values {part.shape[1:]}", image.shape)
        title = name + panel_title(attribution, row, label if every_class else None, whole.sum(), classes)
        under = image
        if part.ndim == 4:
            place, depth = strongest_slice(part), part.shape[1]
            title += f", slice {place} of {depth}"
            part, under = part[:, place], None if image is None else image[:, place]
        group.append(_Panel(part, under, title))
    if image is not None and image.ndim == 3:
        group.insert(0, _Panel(None, image, f"{name}image {row}"))
    return group


def _given_axes(ax, groups: list[list[_Panel]]) -> tuple[Figure, np.ndarray]:
    axes = np.array([ax] if isinstance(ax, Axes) else list(np.ravel(ax)), dtype=object)
    count = sum(panel.values is not None for group in groups for panel in group)
    if len(axes) != count:
        raise InvalidInput("ax", f"must hold one axes for each of the {count} panels", len(axes))
    return axes[0].figure, axes


def _own_axes(groups: list[list[_Panel]]) -> tuple[Figure, np.ndarray]:
    """A figure in which groups stay on one line where they fit, the images drawn; and the axes of the values."""
    cells = _cells(groups)
    lines, columns = (1 + max(cell[axis] for cell in cells) for axis in (0, 1))
    panels = [panel for group in groups for panel in group]
    width, height = _panel_size(next(panel.values for panel in panels if panel.values is not None))
    figure = Figure(figsize=(width * columns + 1.0, height * lines), layout="constrained")
    grid = figure.add_gridspec(lines, columns)
    axes = []
    for panel, cell in zip(panels, cells, strict=True):
        place = figure.add_subplot(grid[cell])
        if panel.values is not None:
            axes.append(place)
            continue
        place.imshow(colour(panel.image), interpolation="nearest")
        place.set_xticks([])
        place.set_yticks([])
        place.set_title(panel.title, fontsize=9)
    return figure, np.array(axes, dtype=object)


def _cells(groups: list[list[_Panel]]) -> list[tuple[int, int]]:
    """Line and column of every panel."""
    cells: list[tuple[int, int]] = []
    line = column = 0
    for group in groups:
        if column and column + len(group) > COLUMNS:
            line, column = line + 1, 0
        for _ in group:
            if column == COLUMNS:
                line, column = line + 1, 0
            cells.append((line, column))
            column += 1
    return cells


def _panel_size(item: np.ndarray) -> tuple[float, float]:
    """Inches for one panel with its title: maps keep their proportions."""
    if item.ndim <= 2:
        return 4.2, 3.2
    height, width = position_map(item).shape
    return (2.4, min(2.4 * height / width, 6.0) + 0.5) if height <= width else (max(2.4 * width / height, 1.2), 2.9)


def _scales(panels: list[_Panel], clip: float, share: bool) -> list[Scale]:
    maps = [position_map(p.values) if p.values.ndim >= 2 else np.atleast_1d(p.values) for p in panels]
    if share:
        return [common_scale(maps, clip)] * len(panels)
    return [common_scale([m], clip) for m in maps]
