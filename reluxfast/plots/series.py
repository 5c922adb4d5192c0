"""Attributions of inputs that are no images: bars for features, coloured lines for signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from reluxfast.errors import InvalidInput
from reluxfast.plots.maps import Scale, position_map

FOR, AGAINST = "#b2182b", "#2166ac"
MOST_BARS = 15


def draw_bars(ax: Axes, values: np.ndarray, names: Sequence[str] | None = None) -> None:
    """The features of one row, `(F,)`, as horizontal bars: the largest absolute values on top, the rest in one bar."""
    values = np.atleast_1d(values)
    if names is not None and len(names) != len(values):
        raise InvalidInput("feature_names", f"must hold one name for each of the {len(values)} features", len(names))
    order = np.argsort(-np.abs(values), kind="stable")
    shown = order if len(order) <= MOST_BARS else order[: MOST_BARS - 1]
    heights = [values[i] for i in shown]
    labels = [str(names[i]) if names is not None else f"feature {i}" for i in shown]
    if len(shown) < len(order):
        heights.append(values[order[len(shown) :]].sum())
        labels.append(f"other {len(order) - len(shown)}")
    places = np.arange(len(heights))[::-1]
    ax.barh(places, heights, color=[FOR if h >= 0 else AGAINST for h in heights])
    ax.set_yticks(places, labels, fontsize=8)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)


def draw_signal(ax: Axes, values: np.ndarray, scale: Scale, signal: np.ndarray | None = None):
    """Values `(C, L)`, channels summed, as coloured background along L; the channels of `signal` `(C, L)` as lines."""
    heat = position_map(values)
    low, high = (0.0, 1.0) if signal is None else (float(np.min(signal)), float(np.max(signal)))
    margin = 0.05 * (high - low) or 0.5
    drawn = ax.imshow(
        heat[None], cmap=scale.colours, vmin=scale.low, vmax=scale.high, aspect="auto", interpolation="nearest",
        extent=(-0.5, len(heat) - 0.5, low - margin, high + margin),
    )  # fmt: skip
    if signal is None:
        ax.set_yticks([])
    else:
        ax.plot(signal.T, color="black", linewidth=1.0)
    ax.tick_params(labelsize=8)
    ax.set_xlabel("position", fontsize=8)
    return drawn
