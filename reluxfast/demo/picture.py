"""The demo's pictures: photo mosaics and digits, explained by every method, and by LRP under several composites."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import reluxfast as rx
from reluxfast import rules
from reluxfast.composites import Composite, by_kind, composite
from reluxfast.demo import data
from reluxfast.plots.gallery import Section, plot_gallery

DOTS_PER_INCH = 140
TITLE = "Red speaks for the class in question, blue against it"
# What the first convolution can see: PhotoNet takes 0.5 off its pixels.
BOX = {"photos": (-0.5, 0.5), "digits": (0.0, 1.0)}
# One column: what is asked of `attribute`, given a trained network.
Column = Callable[[Any], dict[str, Any]]


def write_gallery(path: Path, trained) -> Path:
    """Draw as PNG why the networks say what they say, by every method."""
    columns = [partial(_method, name=name) for name in rx.methods("relevance")]
    return _write(path, trained, columns, None, TITLE)


def write_composites(path: Path, trained) -> Path:
    """Draw as PNG why the networks say what they say, by LRP under several composites."""
    names = list(_composites("digits"))
    columns = [partial(_lrp, name=name) for name in names]
    return _write(path, trained, columns, names, f"LRP, composite by composite. {TITLE}")


def _method(t, name: str) -> dict[str, Any]:
    return {"method": name, **t.options(name)}


def _lrp(t, name: str) -> dict[str, Any]:
    return {"method": "lrp", "composite": _composites(t.name)[name]}


def _composites(network: str) -> dict[str, Composite]:
    """By the name that stands above the column."""
    low, high = BOX[network]
    gamma = rules.Gamma(0.25)
    return {
        "epsilon": composite("epsilon"),
        "gamma everywhere": by_kind(gamma, gamma),
        "epsilon plus": composite("epsilon_plus"),
        "epsilon plus flat": composite("epsilon_plus_flat"),
        "epsilon gamma box": composite("epsilon_gamma_box", low=low, high=high),
        "epsilon alpha2 beta1": composite("epsilon_alpha2_beta1"),
    }


def _write(path: Path, trained, columns: list[Column], names: list[str] | None, title: str) -> Path:
    """Held-out images: a cat, a mosaic of all four photos (asked for the cat as well) and two digits."""
    by_name = {t.name: t for t in trained}
    photos, digits = by_name["photos"], by_name["digits"]
    windows = data.held_out_windows()
    cat = photos.split.classes.index("chelsea")
    mosaic = data.mosaic(windows)[None]
    chosen = torch.tensor([int((digits.split.test_y == d).nonzero()[0]) for d in (3, 5)])
    classes = ["cat" if name == "chelsea" else name for name in photos.split.classes]
    twice = mosaic.expand(2, -1, -1, -1).contiguous()
    sections = [
        _section(photos, columns, windows[cat : cat + 1], ["part of a photo"], classes, block=2),
        _section(photos, columns, twice, ["four photos"] * 2, classes, 3, {1: cat}),
        _section(digits, columns, digits.split.test_x[chosen], ["written 3", "written 5"], digits.split.classes, 1),
    ]
    figure, _ = plot_gallery(sections, columns=names, title=title)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return path


def _section(
    t, columns: list[Column], x: Tensor, names: list[str], classes, block: int, asked: dict[int, int] | None = None
) -> Section:
    """Every column for `x`, for the class that the network says, or for row -> class in `asked`."""
    with torch.no_grad():
        said = t.model(x).argmax(1).tolist()
    targets = [(asked or {}).get(row, answer) for row, answer in enumerate(said)]
    results = [rx.attribute(t.model, x, targets, **column(t)) for column in columns]
    return Section(x, results, names, classes, block)
