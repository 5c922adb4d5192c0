"""Options that several benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path

from reluxfast.benchmarks import rows


def add_common(parser: argparse.ArgumentParser, name: str) -> None:
    """`--threads`, `--tiny` and `--store`, whose file is benchmarks/results/NAME.jsonl unless said otherwise."""
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument(
        "--tiny", action="store_true", help="small copies of the networks: a smoke test, no measurement"
    )
    parser.add_argument(
        "--store",
        nargs="?",
        type=Path,
        const=rows.RESULTS / f"{name}.jsonl",
        help=f"append the rows to this JSON-lines file; without a value benchmarks/results/{name}.jsonl",
    )


def add_worker(parser: argparse.ArgumentParser) -> None:
    """`--worker TASK`, by which a benchmark runs itself in fresh processes (see `fresh.py`)."""
    parser.add_argument("--worker", help=argparse.SUPPRESS)
