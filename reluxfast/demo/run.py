"""The demo from end to end: train, explain, validate, time, draw, write down."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import reluxfast as rx
from reluxfast.demo import checks, data
from reluxfast.demo.models import DigitsNet, PhotoNet, parameters
from reluxfast.demo.picture import write_composites, write_gallery
from reluxfast.demo.shapley import train_table, write_superpixels, write_table
from reluxfast.demo.timing import MethodRow, measure
from reluxfast.demo.train import train
from reluxfast.files import writable_folder
from reluxfast.progress import progress_bar


@dataclass(frozen=True)
class Trained:
    """A trained network, the layer its class activation maps read, and its data."""

    name: str
    model: nn.Module
    layer: str
    split: data.Split
    accuracy: float

    def options(self, method: str) -> dict[str, Any]:
        """The options that `method` cannot do without."""
        return {"layer": self.layer} if method in ("grad_cam", "guided_grad_cam") else {}


@dataclass(frozen=True)
class DemoResult:
    """What a run found and where it wrote it.

    Attributes:
        rows: one for each model and method: time per image, worst relative error, backend.
        accuracy: held-out accuracy of each model, in [0, 1].
        checks: named figures, each with its bound and whether it holds.
        gallery, composites: the written PNGs (all methods; LRP by composites).
        shapley: the written PNGs of Shapley values: beeswarm, waterfall, superpixels.
        record: the written JSON.
        seconds: wall-clock time of the whole run.
        ok: every method agrees with the reference and every check holds.
    """

    rows: list[MethodRow]
    accuracy: dict[str, float]
    checks: list[checks.Check]
    gallery: Path
    composites: Path
    shapley: list[Path]
    record: Path
    seconds: float
    ok: bool = field(default=False)


def run_demo(
    out_dir: str | Path = "demo-out", *, quick: bool = False, seed: int = 0, progress: bool = True, echo=print
) -> DemoResult:
    """Train two small networks, explain held-out images with every method, validate, time, draw.

    Args:
        out_dir: folder for the pictures and `demo.json`; made if missing.
        quick: few epochs and few images, for a smoke test; the accuracy is then low.
        seed: of the splits, the weights and the batches.
        progress: show progress bars where stderr is a terminal.
        echo: called with each line of the report.

    Raises:
        InvalidInput: `out_dir` cannot be written to.
        MissingExtra: scikit-learn, scikit-image or shap is not installed; names what to install.
    """
    started = time.perf_counter()
    out = writable_folder(out_dir, "out")
    with _own_random_state(seed), _one_thread():
        trained = _train_both(quick, seed, progress, echo)
        for t in trained:
            echo(f"{t.name}: {parameters(t.model)} parameters, held-out accuracy {t.accuracy:.3f}")
        echo(f"explaining with {len(rx.methods('relevance'))} methods, comparing with float64, drawing")
        rows = _rows(trained, quick, progress)
        found = checks.run(trained, seed, quick)
        gallery = write_gallery(out / "gallery.png", trained)
        composites = write_composites(out / "composites.png", trained)
        echo("Shapley values of a table and of superpixels")
        table_net = train_table(seed, quick, progress)
        shapley, more = write_table(out, table_net, quick)
        found += more
        shapley.append(write_superpixels(out / "superpixels.png", trained))
    echo("")
    echo(table(rows))
    echo("")
    for check in found:
        echo(str(check))
    seconds = time.perf_counter() - started
    accuracy = {t.name: t.accuracy for t in trained} | {"table": table_net.accuracy}
    ok = all(row.ok for row in rows) and all(check.ok for check in found)
    result = DemoResult(rows, accuracy, found, gallery, composites, shapley, out / "demo.json", seconds, ok)
    result.record.write_text(json.dumps(_record(result, seed, quick), indent=2) + "\n")
    pictures = ", ".join(map(str, (result.gallery, result.composites, *result.shapley)))
    echo(f"\nwrote {pictures} and {result.record} in {seconds:.0f} s")
    return result


@contextmanager
def _one_thread() -> Iterator[None]:
    """Layers this small lose time on more threads, most of all where other programs run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _train_both(quick: bool, seed: int, progress: bool, echo) -> list[Trained]:
    digits = data.digits(seed)
    crops = data.photo_crops(seed, *((100, 20) if quick else (600, 100)))
    echo(f"training on {len(digits.train_x)} digits and {len(crops.train_x)} parts of photos")
    digits_net = DigitsNet(len(digits.classes))
    digits_accuracy = train(digits_net, digits, 2 if quick else 14, seed, progress=progress)
    photo_net = PhotoNet(len(crops.classes))
    photo_accuracy = train(photo_net, crops, 1 if quick else 8, seed, jitter=0.1, progress=progress)
    return [
        Trained("digits", digits_net, "joined", digits, digits_accuracy),
        Trained("photos", photo_net, "block3", crops, photo_accuracy),
    ]


def _rows(trained: list[Trained], quick: bool, progress: bool) -> list[MethodRow]:
    rows = []
    names = rx.methods("relevance")
    total = len(trained) * len(names)
    with progress_bar(desc="explain and validate", total=total, unit="method", show=progress) as bar:
        for t in trained:
            x, y = _some(t.split, 8 if quick else 64)
            for name in names:
                rows.append(measure(t, name, x, y, repeats=1 if quick else 5))
                bar.update()
    return rows


def _some(split: data.Split, count: int) -> tuple[Tensor, Tensor]:
    rows = np.linspace(0, len(split.test_x) - 1, count).astype(int)
    return split.test_x[rows], split.test_y[rows]


def table(rows: list[MethodRow]) -> str:
    """The rows as aligned text."""
    head = ("method", "model", "ms per image", "worst relative error", "bound", "backend", "")
    body = [
        (r.method, r.model, f"{r.ms_per_image:.3f}", f"{r.worst_relative_error:.1e}", f"{r.tolerance:.0e}", r.backend,
         "ok" if r.ok else "FAILED")
        for r in rows
    ]  # fmt: skip
    widths = [max(len(line[c]) for line in [head, *body]) for c in range(len(head))]
    right = (2, 3, 4)
    padded = [
        [cell.rjust(w) if c in right else cell.ljust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in [head, *body]
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _record(result: DemoResult, seed: int, quick: bool) -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "info": rx.info().as_dict(),
        "threads": 1,
        "seed": seed,
        "quick": quick,
        "seconds": round(result.seconds, 2),
        "accuracy": result.accuracy,
        "rows": [asdict(row) for row in result.rows],
        "checks": [asdict(check) for check in result.checks],
        "ok": result.ok,
        "gallery": result.gallery.name,
        "composites": result.composites.name,
        "shapley": [path.name for path in result.shapley],
    }
