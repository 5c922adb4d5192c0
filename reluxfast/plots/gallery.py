"""Many attributions side by side: a row for each image, a column for each method, or form of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from reluxfast.errors import InvalidInput
from reluxfast.plots.heatmap import draw_heatmap
from reluxfast.plots.labels import minus, shown_name, standing
from reluxfast.plots.maps import as_array, block_sums, colour, common_scale, position_map, unit

CELL = 1.0
BAR = 0.58
LEFT = 1.5


@dataclass(frozen=True)
class Section:
    """Images of one model and what the methods say of them.

    Attributes:
        images: `(N, C, H, W)`, C 1 or 3.
        attributions: one for each column, each with values `(N, C or 1, H, W)`.
        row_names: what each image is; stands to the left, above the class explained and how the model rates it.
        classes: names of the model's outputs; None names none and shows logits for probabilities.
        block: values are summed over blocks of this many pixels squared before they are drawn; the total stays.
    """

    images: object
    attributions: Sequence
    row_names: Sequence[str]
    classes: Sequence[str] | None = None
    block: int = 1


def plot_gallery(
    sections: Sequence[Section],
    *,
    columns: Sequence[str] | None = None,
    clip: float = 99.0,
    alpha: float = 0.6,
    title: str | None = None,
):
    """Draw sections below each other: the image, then one heat map for each attribution, with one scale for each column
    and section, given by the colour bar under it.

    Args:
        sections: all with the same methods in the same order.
        columns: what to call the attributions of a section, one name each; None: by their methods.
        clip: percentile of the absolute values at which the colours saturate.
        alpha: opacity of the heat maps over the grey image.
        title: a line above everything.

    Returns:
        the figure, and the axes as an object array `(images in all, 1 + columns)`.

    Raises:
        InvalidInput: no section, or sections with other methods or other numbers of rows than their images; another
            number of names than of attributions.
    """
    methods = _methods(sections)
    names = [shown_name(m) for m in methods] if columns is None else list(columns)
    if len(names) != len(methods):
        raise InvalidInput("columns", f"must name the {len(methods)} attributions of a section", names)
    rows = sum(len(section.row_names) for section in sections)
    heights = [height for s in sections for height in [CELL] * len(s.row_names) + [BAR]]
    top = 0.32 + (0.3 if title else 0.0)
    width, height = LEFT + CELL * (1 + len(methods)) + 0.1, sum(heights) + top + 0.06
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(heights), 1 + len(methods), height_ratios=heights, wspace=0.06, hspace=0.06,
        left=LEFT / width, right=1 - 0.1 / width, top=1 - top / height, bottom=0.06 / height,
    )  # fmt: skip
    axes = np.empty((rows, 1 + len(methods)), dtype=object)
    line = row = 0
    for section in sections:
        count = len(section.row_names)
        for offset in range(count):
            axes[row + offset] = [figure.add_subplot(grid[line + offset, c]) for c in range(1 + len(methods))]
        bars = [figure.add_subplot(grid[line + count, 1 + c]) for c in range(len(methods))]
        _draw_section(figure, section, axes[row : row + count], bars, clip, alpha)
        line, row = line + count + 1, row + count
    for place, name in zip(axes[0], ["Input", *names], strict=True):
        place.set_title(name.replace(" ", "\n", 1) if len(name) > 12 else name, fontsize=8, pad=3)
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.08 / height, va="top")
    return figure, axes


def _methods(sections) -> list[str]:
    if not sections:
        raise InvalidInput("sections", "must hold at least one section", "none")
    methods = [a.method for a in sections[0].attributions]
    for section in sections:
        if [a.method for a in section.attributions] != methods:
            raise InvalidInput(
                "sections", f"must all show the methods {methods}", [a.method for a in section.attributions]
            )
        lengths = {len(section.images), len(section.row_names), *(len(a.values) for a in section.attributions)}
        if len(lengths) != 1 or not len(section.row_names):
            raise InvalidInput("sections", "must have as many images, row names and values", sorted(lengths))
    return methods


def _draw_section(figure, section: Section, axes, bars, clip: float, alpha: float) -> None:
    images = as_array(section.images)
    for row, (image, name) in enumerate(zip(images, section.row_names, strict=True)):
        place = axes[row, 0]
        place.imshow(colour(image), interpolation="nearest")
        place.set_xticks([])
        place.set_yticks([])
        label = "\n".join([name, *standing(section.attributions[0], row, section.classes)])
        place.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
    for column, (attribution, bar) in enumerate(zip(section.attributions, bars, strict=True), start=1):
        maps = [block_sums(position_map(item), section.block) for item in as_array(attribution.values)]
        scale = common_scale(maps, clip)
        for row, heat in enumerate(maps):
            drawn = draw_heatmap(axes[row, column], heat, scale, images[row], alpha)
        _colour_bar(figure, bar, drawn, unit(attribution.method))


def _colour_bar(figure, place, drawn, meaning: str) -> None:
    place.set_axis_off()
    inside = place.inset_axes((0.08, 0.76, 0.84, 0.12))
    bar = figure.colorbar(drawn, cax=inside, orientation="horizontal")
    low, high = drawn.get_clim()
    ends = [minus(f"{end:.1g}".replace("e-0", "e-")) for end in (low, high)]
    middle = "0" if low < 0 and max(map(len, ends)) < 7 and "e" not in ends[1] else ""
    bar.set_ticks([low, (low + high) / 2, high], labels=[ends[0], middle, ends[1]])
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1)
    for label, side in zip(bar.ax.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)
    bar.set_label(fill(meaning, 17), fontsize=6.5, labelpad=1)
    bar.outline.set_linewidth(0.5)
