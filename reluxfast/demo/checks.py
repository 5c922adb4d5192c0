"""Figures that tell right explanations from wrong ones, each with a bound it must keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import reluxfast as rx
from reluxfast.demo import data


@dataclass(frozen=True)
class Check:
    """A figure and its bound.

    Attributes:
        name: what was measured.
        value: the figure.
        bound: what it must keep.
        at_least: True: `value >= bound` holds; False: `value <= bound`.
        ok: whether it holds.
        meaning: one sentence for the reader.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    ok: bool
    meaning: str

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "ok    " if self.ok else "FAILED"
        return f"{verdict}  {self.name}: {self.value:.3g} (bound {sign} {self.bound:g}); {self.meaning}"


def run(trained, seed: int = 0, quick: bool = False) -> list[Check]:
    """Every check on the trained networks; `quick` uses fewer mosaics."""
    found = []
    for t in trained:
        rows = 8 if quick else 32
        found += [_accuracy(t, quick), *_sums(t, t.split.test_x[:rows], t.split.test_y[:rows])]
    photos = next(t for t in trained if t.name == "photos")
    found += _grid_pointing(photos, seed, 2 if quick else 20, quick)
    return found


def check(name: str, value: float, bound: float, at_least: bool, meaning: str) -> Check:
    """A figure held against its bound."""
    return Check(name, value, bound, at_least, value >= bound if at_least else value <= bound, meaning)


def _accuracy(t, quick: bool) -> Check:
    # Photos: test crops show subjects that no training crop shows, 0.85 to 0.91 over seeds. A smoke run barely trains.
    bound = 0.05 if quick else {"digits": 0.9, "photos": 0.75}[t.name]
    return check(f"{t.name}: held-out accuracy", t.accuracy, bound, True, "an untrained network explains nothing")


def _sums(t, x: Tensor, y: Tensor) -> list[Check]:
    integrated = rx.attribute(t.model, x, y, "integrated_gradients", n_steps=200)
    with torch.no_grad():
        chosen = t.model(x).gather(1, y[:, None])[:, 0]
        base = t.model(torch.zeros_like(x)).gather(1, y[:, None])[:, 0]
    total = integrated.values.flatten(1).sum(1)
    gap = ((total - (chosen - base)).abs() / (chosen - base).abs().clamp(min=1.0)).max().item()
    gradient = rx.attribute(t.model, x, y, "gradient").values
    product = rx.attribute(t.model, x, y, "input_x_gradient").values
    guided = rx.attribute(t.model, x, y, "guided_backprop").values
    product_gap = ((product - x * gradient).norm() / product.norm()).item()
    difference = ((guided - gradient).norm() / gradient.norm()).item()
    return [
        # Midpoint sums on a piecewise linear path converge like 1/n; n = 200 leaves a few per mille.
        check(f"{t.name}: integrated gradients, completeness gap", gap, 0.05, False,
               "the values sum to logit minus logit at the black image"),
        # One float32 rounding apart.
        check(f"{t.name}: input x gradient against its definition", product_gap, 1e-6, False, "relative deviation"),
        check(f"{t.name}: guided backprop against gradient", difference, 0.1, True,
               "relative difference; 0 would mean that functional ReLUs were missed"),
    ]  # fmt: skip


def _grid_pointing(t, seed: int, mosaics: int, quick: bool) -> list[Check]:
    """Böhle et al. 2021: share of the positive map in the cell of the explained class, on 2x2 mosaics (chance 0.25)."""
    images, targets, cells = _mosaics(seed, mosaics)
    shares = {}
    for method in ("grad_cam", "input_x_gradient"):
        values = rx.attribute(t.model, images, targets, method, **t.options(method)).values.sum(1).clamp(min=0)
        half = values.shape[-1] // 2
        parts = values.unfold(1, half, half).unfold(2, half, half).sum((3, 4)).flatten(1)
        inside = parts.gather(1, cells[:, None])[:, 0] / parts.sum(1).clamp(min=1e-12)
        shares[method] = inside.double().mean().item()
    return [
        # Chance is 0.25; a smoke run only has to give a share at all.
        check("photos: Grad-CAM in the right cell of a 2x2 mosaic", shares["grad_cam"], 0.0 if quick else 0.5, True,
               f"share of the positive map, chance 0.25, input x gradient {shares['input_x_gradient']:.2f}"),
    ]  # fmt: skip


def _mosaics(seed: int, count: int, size: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    """Mosaics `(4 count, 3, 2 size, 2 size)` of held-out parts, each once for every class; class, cell `(4 count,)`."""
    generator = torch.Generator().manual_seed(seed)
    windows = data.held_out_windows()
    span = windows.shape[-1] - size + 1
    images, targets, cells = [], [], []
    for _ in range(count):
        order = torch.randperm(4, generator=generator)
        corners = torch.randint(span, (4, 2), generator=generator).tolist()
        cut = [windows[k, :, i : i + size, j : j + size] for k, (i, j) in zip(order, corners, strict=True)]
        for cell, label in enumerate(order.tolist()):
            images.append(data.mosaic(torch.stack(cut)))
            targets.append(label)
            cells.append(cell)
    return torch.stack(images), torch.tensor(targets), torch.tensor(cells)
