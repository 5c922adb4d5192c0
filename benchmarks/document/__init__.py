"""docs/benchmarks.md, made from stored rows alone: every number in it is one of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reluxfast.benchmarks.document import findings, head, tables
from reluxfast.benchmarks.pictures import pictures
from reluxfast.benchmarks.results_file import Row, points

__all__ = ["markdown"]

FOLDER = "benchmarks"


def markdown(rows: Sequence[Row], again: Sequence[Row] = (), gpu: Sequence[Row] = ()) -> str:
    """The document.

    Args:
        rows: a run on a CPU.
        again: a second run there.
        gpu: a run on a GPU.
    """
    parts = [head.title()]
    parts += _device(rows, "On a CPU", head.CPU_COMMAND)
    if rows:
        parts += [findings.bars(rows)]
        parts += _body(rows)
        parts += [findings.agreement(rows, again)]
    parts += _device(gpu, "On a GPU", head.GPU_COMMAND)
    if gpu:
        parts += _body(gpu)
    return "\n\n".join(part for part in parts if part) + "\n"


def _device(rows: Sequence[Row], title: str, command: str) -> list[str]:
    return [f"## {title}", head.nothing(command) if not rows else head.measured(rows, command)]


def _body(rows: Sequence[Row]) -> list[str]:
    every = points(rows)
    drawn = list(pictures(rows))
    parts = [findings.losses(every), findings.failures(every)]
    parts += tables.networks(every, drawn, FOLDER)
    parts += [tables.sweeps(rows, drawn, FOLDER), tables.precision(every), tables.ablation(every, drawn, FOLDER)]
    return [*parts, tables.preparation(every)]


def picture_files(*runs: Sequence[Row]) -> list[str]:
    """Names of the pictures that the document shows."""
    return [name for rows in runs for name in pictures(rows)]


README = Path(__file__).parents[2] / "README.md"
DOCUMENT = README.parent / "docs" / "benchmarks.md"
