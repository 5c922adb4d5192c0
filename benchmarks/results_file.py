"""Files of benchmark rows: reading them back, telling rows apart, and writing them as a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reluxfast.benchmarks.problem import ON_REQUEST
from reluxfast.errors import InvalidInput

Row = Mapping[str, Any]

SCHEMA = 1
ROWS = "rows.jsonl"
_NEEDED = {"case": str, "axes": dict, "provider": str, "kind": str, "status": str, "environment": dict}


def read_rows(path: str | Path, argument: str = "path") -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, or of `rows.jsonl` in a folder, in their order.

    Args:
        path: file or folder.
        argument: what errors call it.

    Raises:
        InvalidInput: no such file, a line that is no row, or a row of another schema.
    """
    path = Path(path)
    file = path / ROWS if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        rule = f"must be a folder that holds {ROWS}" if path.is_dir() else "must be a file of rows, or a folder of one"
        raise InvalidInput(argument, rule, path, "`reluxfast bench --out DIR` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(argument, "must be a readable file of JSON lines", f"{file}: {error}") from error
    return [
        _row(line, f"{file}, line {number}", argument)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def _row(line: str, where: str, argument: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            argument, "must hold one JSON object per line", f"{where}: {error}", "Was the file cut off?"
        ) from None
    if not isinstance(row, dict):
        raise InvalidInput(argument, "must hold one JSON object per line", f"{where}: {type(row).__name__}")
    if row.get("schema") != SCHEMA:
        raise InvalidInput(
            argument, f"must hold rows of schema {SCHEMA}", f"{where}: {row.get('schema')!r}", "Measure again"
        )
    wrong = [key for key, kind in _NEEDED.items() if not isinstance(row.get(key), kind)]
    if wrong:
        raise InvalidInput(argument, f"must hold rows with {', '.join(_NEEDED)}", f"{where} without {', '.join(wrong)}")
    return row


def identity(row: Row) -> tuple:
    """What two rows have in common that measure the same: case, axes, provider, functional, device, threads, TF32."""
    environment = row["environment"]
    axes = tuple(sorted((axis, str(value)) for axis, value in row["axes"].items()))
    device, threads = environment.get("device"), environment.get("threads")
    tf32 = bool(environment.get("tf32"))
    return row["case"], axes, row["provider"], bool(row.get("functional")), device, threads, tf32


def latest(rows: Iterable[Row]) -> list[Row]:
    """Of rows that measure the same in the same series the last one, where the first one stood."""
    found: dict[tuple, Row] = {}
    for row in rows:
        found[(identity(row), row.get("sweep", ""), bool(row.get("tiny")))] = row
    return list(found.values())


def points(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows beside each other that differ in their provider alone, in the order of their first ones; no row twice."""
    found: dict[tuple, list[Row]] = {}
    for row in latest(rows):
        case, axes, _, *place = identity(row)
        found.setdefault((case, axes, *place, row.get("sweep", ""), bool(row.get("tiny"))), []).append(row)
    return list(found.values())


def is_peer(row: Row) -> bool:
    """Whether the row is of another library: who takes part on request is a step between a peer and the engine."""
    return row["kind"] == "peer" and row["provider"] not in ON_REQUEST


def timed(row: Row) -> bool:
    """Whether the row has a time that counts: of a right provider, or of a floor."""
    return row["status"] in ("ok", "floor") and row.get("median_ms") is not None


def flat(row: Row, prefix: str = "") -> dict[str, Any]:
    """Nested entries under dotted names: `over_base.median`."""
    cells: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            cells |= flat(value, f"{prefix}{key}.")
        else:
            cells[prefix + key] = json.dumps(value) if isinstance(value, list | tuple) else value
    return cells


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Rows as comma-separated values with a line of names; what a row lacks stays empty."""
    cells = [flat(row) for row in rows]
    columns = list(dict.fromkeys(name for line in cells for name in line))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(cells)
