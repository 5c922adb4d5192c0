"""Shapley values in the demo: a table with shap's plots, digits and photos by superpixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import reluxfast as rx
from reluxfast.demo import data
from reluxfast.demo.checks import Check, check
from reluxfast.demo.train import train
from reluxfast.extras import need
from reluxfast.plots.heatmap import plot_attribution

DOTS_PER_INCH = 140
MALIGNANT = 0
BACKGROUND_ROWS = 50


class TableNet(nn.Module):
    """Standardises a table's columns, then a 32-16 MLP: `(N, F)` to `(N, K)` logits."""

    def __init__(self, x: Tensor, classes: int):
        super().__init__()
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("scale", x.std(0))
        self.layers = nn.Sequential(
            nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers((x - self.mean) / self.scale)


@dataclass(frozen=True)
class Table:
    """A trained network for a table, its held-out rows and the names of the columns."""

    model: TableNet
    split: data.Split
    features: tuple[str, ...]
    accuracy: float


def train_table(seed: int, quick: bool, progress: bool) -> Table:
    """A network for the breast cancer data of scikit-learn, 569 rows of 30 measurements, split 75/25 by `seed`."""
    split, features = data.breast_cancer(seed)
    model = TableNet(split.train_x, len(split.classes))
    accuracy = train(model, split, 3 if quick else 40, seed, progress=progress)
    return Table(model, split, features, accuracy)


def write_table(folder: Path, table: Table, quick: bool) -> tuple[list[Path], list[Check]]:
    """Draw `beeswarm.png` and `waterfall.png` of the held-out rows with shap's plots; check what can be checked."""
    shap = need("shap", "shap", "demo", "the demo")
    x, background = table.split.test_x, table.split.train_x[:BACKGROUND_ROWS]
    result = rx.shapley(table.model, x, background, target=MALIGNANT, n_evaluations=200 * 2 * 29 + 1)
    found = result.to_shap(feature_names=table.features)
    paths = [folder / "beeswarm.png", folder / "waterfall.png"]
    title = f"Shapley values of the logit “{table.split.classes[MALIGNANT]}”"
    shap.plots.beeswarm(found, show=False, max_display=11)
    _save(paths[0], f"{title}, {len(x)} held-out rows")
    # The middle one of those that the network calls malignant.
    called = (result.output.argmax(1) == MALIGNANT).nonzero().flatten()
    row = int(called[result.output[called, MALIGNANT].argsort()[len(called) // 2]]) if len(called) else 0
    shap.plots.waterfall(found[row], show=False, max_display=11)
    _save(paths[1], f"{title}, one row")
    return paths, _checks(table, result, x, background, quick)


def _checks(table: Table, result: rx.Attribution, x: Tensor, background: Tensor, quick: bool) -> list[Check]:
    gap = (result.values.sum(1) - (result.output[:, MALIGNANT] - result.base_value)).abs().max().item()
    longer = rx.shapley(table.model, x[:20], background, target=MALIGNANT, n_evaluations=4000 * 2 * 29 + 1, seed=1)
    z = (result.values[:20] - longer.values) / result.standard_error[:20]
    return [
        # A smoke run barely trains.
        check("table: held-out accuracy", table.accuracy, 0.3 if quick else 0.93, True,
              "an untrained network explains nothing"),
        check("table: Shapley values, gap to the output", gap / result.output.abs().max().item(), 1e-5, False,
              "values sum to output minus base value"),
        # Cycled backgrounds are stratified, so that errors are stated a little too large.
        check("table: Shapley values within two standard errors of a run 20 times as long",
              (z.abs() < 2).double().mean().item(), 0.9, True, "the stated errors are true"),
    ]  # fmt: skip


def write_superpixels(path: Path, trained) -> Path:
    """Draw Shapley values of superpixels: held-out photos beside digits."""
    by_name = {t.name: t for t in trained}
    photos, digits = by_name["photos"], by_name["digits"]
    windows = data.held_out_windows()
    chosen = torch.tensor([int((digits.split.test_y == d).nonzero()[0]) for d in (3, 5, 7, 8)])
    images = digits.split.test_x[chosen]
    # The mean colour of all photos stands for a part that is absent.
    results = [
        _of_superpixels(photos.model, windows, windows.mean((0, 2, 3), keepdim=True)[0].expand_as(windows[0]), 40),
        _of_superpixels(digits.model, images, torch.zeros_like(images[0]), 12),
    ]
    figure = plt.figure(figsize=(12, 11), layout="constrained")
    parts = figure.subfigures(2, 1)
    for part, result, shown, classes in zip(
        parts, results, (windows, images), (photos.split.classes, digits.split.classes), strict=True
    ):
        axes = part.subplots(2, 4)
        for ax, image in zip(axes[0], shown, strict=True):
            picture = image.permute(1, 2, 0).numpy()
            ax.imshow(picture, cmap="gray" if picture.shape[-1] == 1 else None)
            ax.set_axis_off()
        plot_attribution(result, shown, axes[1], classes=classes)
    figure.suptitle("Shapley values of superpixels. Red speaks for the class, blue against it")
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)
    return path


def _of_superpixels(model: nn.Module, images: Tensor, baseline: Tensor, count: int) -> rx.Attribution:
    with torch.no_grad():
        said = model(images).argmax(1)
    return rx.shapley(model, images, baseline, target=said, players=rx.superpixels(count), n_evaluations=2000)


def _save(path: Path, title: str) -> None:
    figure = plt.gcf()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    plt.close(figure)
