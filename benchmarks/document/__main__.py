"""Makes docs/benchmarks.md, its pictures and the table of the README from the stored rows, or checks them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reluxfast.benchmarks.document import DOCUMENT, FOLDER, README, markdown, picture_files
from reluxfast.benchmarks.document.headline import headline, written
from reluxfast.benchmarks.pictures import draw
from reluxfast.benchmarks.results_file import read_rows
from reluxfast.benchmarks.rows import RESULTS

FILES = ("cpu.jsonl", "cpu_again.jsonl", "gpu.jsonl")


def stored(folder: Path = RESULTS) -> list[list[dict]]:
    """Rows of the first run on a CPU, of the second, and of a GPU; none where a file is not there."""
    return [read_rows(folder / name) if (folder / name).exists() else [] for name in FILES]


def main(
    arguments: Sequence[str] | None = None,
    document: Path = DOCUMENT,
    results: Path = RESULTS,
    readme: Path = README,
) -> int:
    """Print, write or check. 1 when the check finds a difference, else 0."""
    parser = argparse.ArgumentParser(prog="python -m reluxfast.benchmarks.document", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {document.name} and draw its pictures")
    parser.add_argument(
        "--check", action="store_true", help="exit code 1 where document or pictures are not up to date"
    )
    args = parser.parse_args(arguments)
    cpu, again, gpu = stored(results)
    before = readme.read_text(encoding="utf-8")
    front = written(before, headline(cpu))
    text, folder = markdown(cpu, again, gpu), document.parent / FOLDER
    if args.write:
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_text(text, encoding="utf-8")
        readme.write_text(front, encoding="utf-8")
        _draw(folder, cpu, gpu)
    if args.check and front != before and not args.write:
        print(f"{readme.name} differs from the stored rows", file=sys.stderr)
        return 1
    if args.check:
        return _check(text, document, folder, picture_files(cpu, gpu))
    if not args.write:
        print(text, end="")
    return 0


def _draw(folder: Path, *runs: Sequence[dict]) -> None:
    drawn = [path for rows in runs if rows for path in draw(rows, folder)]
    for path in folder.glob("*.png"):
        if path not in drawn:
            path.unlink()


def _check(text: str, document: Path, folder: Path, names: Sequence[str]) -> int:
    there = document.read_text(encoding="utf-8") if document.exists() else None
    missing = [name for name in names if not (folder / name).exists()]
    if there == text and not missing:
        return 0
    what = f"{document.name} differs from the stored rows" if there != text else f"missing: {', '.join(missing)}"
    print(f"{what}; `python -m reluxfast.benchmarks.document --write` makes it anew", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
