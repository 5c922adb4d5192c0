"""The demo's gallery: photo mosaics and digits, explained by every method."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import reluxfast as rx
from reluxfast.demo import data
from reluxfast.plots.gallery import Section, plot_gallery

DOTS_PER_INCH = 140
TITLE = "Red speaks for the class in question, blue against it"


def write_gallery(path: Path, trained) -> Path:
    """Draw as PNG why the networks say what they say of held-out images: a cat, a mosaic of all four photos (asked for
    the cat as well) and two digits."""
    by_name = {t.name: t for t in trained}
    photos, digits = by_name["photos"], by_name["digits"]
    windows = data.held_out_windows()
    cat = photos.split.classes.index("chelsea")
    mosaic = data.mosaic(windows)[None]
    chosen = torch.tensor([int((digits.split.test_y == d).nonzero()[0]) for d in (3, 5)])
    names = ["cat" if name == "chelsea" else name for name in photos.split.classes]
    sections = [
        _section(photos, windows[cat : cat + 1], ["part of a photo"], names, block=2),
        _section(photos, mosaic.expand(2, -1, -1, -1).contiguous(), ["four photos"] * 2, names, 3, {1: cat}),
        _section(digits, digits.split.test_x[chosen], ["written 3", "written 5"], digits.split.classes, block=1),
    ]
    figure, _ = plot_gallery(sections, title=TITLE)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return path


def _section(t, x: Tensor, names: list[str], classes, block: int, asked: dict[int, int] | None = None) -> Section:
    """Every method on `x`, for the class that the network says, or for row -> class in `asked`."""
    with torch.no_grad():
        said = t.model(x).argmax(1).tolist()
    targets = [(asked or {}).get(row, answer) for row, answer in enumerate(said)]
    results = [rx.attribute(t.model, x, targets, method, **t.options(method)) for method in rx.methods()]
    return Section(x, results, names, classes, block)
