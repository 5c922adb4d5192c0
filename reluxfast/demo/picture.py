"""The demo's gallery: photo mosaics and digits, explained by every method."""

from __future__ import annotations

from pathlib import Path

import torch

import reluxfast as rx
from reluxfast.demo import data
from reluxfast.plots.gallery import Section, plot_gallery

MOSAIC_TARGETS = {"chelsea": "cat", "rocket": "rocket"}
DOTS_PER_INCH = 140


def write_gallery(path: Path, trained) -> Path:
    """Draw a mosaic of the four held-out windows, asked for two of its classes, and two held-out digits, as PNG."""
    by_name = {t.name: t for t in trained}
    photos, digits = by_name["photos"], by_name["digits"]
    picture = data.mosaic(data.held_out_windows())
    targets = torch.tensor([photos.split.classes.index(name) for name in MOSAIC_TARGETS])
    mosaics = picture.expand(len(targets), *picture.shape).contiguous()
    chosen = torch.tensor([int((digits.split.test_y == d).nonzero()[0]) for d in (3, 5)])
    sections = [
        _section(photos, mosaics, targets, list(MOSAIC_TARGETS.values()), block=3),
        _section(digits, digits.split.test_x[chosen], digits.split.test_y[chosen], ["3", "5"], block=1),
    ]
    figure, _ = plot_gallery(sections)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return path


def _section(t, x, y, classes: list[str], block: int) -> Section:
    results = [rx.attribute(t.model, x, y, method, **t.options(method)) for method in rx.methods()]
    return Section(x, results, [f"why\n“{name}”?" for name in classes], block)
