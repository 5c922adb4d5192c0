"""Explain a batch and write what was found: one overlay PNG for each row, and the values as `.npy`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import reluxfast as rx
from reluxfast.files import writable_folder
from reluxfast.progress import progress_bar
from reluxfast.top_targets import top_targets

CHUNK = 16


@dataclass(frozen=True)
class ExplainedRow:
    """One row: its target, the explained output, the sum of its values and its picture."""

    row: int
    target: int | tuple[int, ...] | None
    logit: float
    total: float
    picture: str


@dataclass(frozen=True)
class Written:
    """What was explained and where it was written."""

    method: str
    values: str
    shape: tuple[int, ...]
    rows: list[ExplainedRow]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and text."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"row {r.row}: " + (f"target {r.target}, " if r.target is not None else "")
            + f"logit {r.logit:.5g}, sum of values {r.total:.5g} -> {r.picture}"
            for r in self.rows
        ]  # fmt: skip
        return "\n".join([*lines, f"values {self.shape} -> {self.values}"])


def explain_files(
    program: torch.export.ExportedProgram,
    x: Tensor,
    target: int | tuple[int, ...] | str,
    method: str,
    options: dict[str, Any],
    out: Path,
    name: str,
) -> Written:
    """Explain `x` `(N, ...)` and write `NAME_METHOD.npy` and `NAME_METHOD_ROW.png` into `out`, made if missing.

    Args:
        program: an exported program of one input, whatever batch size it was exported with.
        target: output index of every row (a tuple for outputs of several dimensions), or "top" for the largest output
            of each row.
        method, options: as for `reluxfast.attribute`.
        out, name: folder, and the first part of the files' names; files of these names are replaced.

    Raises:
        InvalidInput: `out` cannot be written to, or as `reluxfast.attribute`.
    """
    writable_folder(out, "out")
    explainer = rx.Explainer(program, x)
    values, rows = [], []
    for chunk in progress_bar(x.split(CHUNK), desc=method, unit="chunk"):
        chosen = top_targets(explainer.captured, (chunk,)) if target == "top" else target
        result = explainer.attribute(chunk, chosen, method, **options)
        values.append(result.values)
        for row in range(len(chunk)):
            picture = out / f"{name}_{method}_{len(rows)}.png"
            rows.append(_write_row(result, chunk, row, picture, len(rows)))
    joined = torch.cat(values).cpu().numpy()
    path = out / f"{name}_{method}.npy"
    np.save(path, joined, allow_pickle=False)
    return Written(method, str(path), joined.shape, rows)


def _write_row(result: rx.Attribution, x: Tensor, row: int, picture: Path, number: int) -> ExplainedRow:
    from reluxfast.plots.labels import row_logit, row_target

    target = row_target(result, row)
    one = rx.Attribution(
        result.values[row : row + 1], result.output[row : row + 1], target, result.method, result.options
    )  # fmt: skip
    figure, _ = one.plot(images=x[row : row + 1])
    figure.savefig(picture, dpi=150)
    return ExplainedRow(number, target, row_logit(one, 0), float(one.values.double().sum()), str(picture))
