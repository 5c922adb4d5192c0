"""Figures of attributions. Each function returns `(fig, axes)`, draws without a display and never shows a window."""

from reluxfast.plots.gallery import plot_gallery
from reluxfast.plots.heatmap import plot_attribution

__all__ = ["plot_attribution", "plot_gallery"]
