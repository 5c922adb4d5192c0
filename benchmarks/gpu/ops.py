"""GB/s of every op against a copy in the same run: `python -m reluxfast.benchmarks.gpu.ops --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from reluxfast import ops
from reluxfast.benchmarks import rows
from reluxfast.benchmarks.gpu.clock import interleaved_ms, sets_for
from reluxfast.benchmarks.micro import coalitions, maps
from reluxfast.benchmarks.micro.works import DTYPES, Work, check_op, copied, expected
from reluxfast.benchmarks.timing import paired_ratio, summarise

# What an op must reach of the copy's bandwidth to be near the machine's limit.
BAR = 0.85
# Of tensors so small that more would be needed to exceed the caches, a call's launch is measured, not its traffic.
MOST_SETS = 256


def works(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Every op that does nothing but move memory, on (N, C, H, W) elements."""
    yield from maps.works(shape, dtype, device)
    yield from coalitions.works(shape, dtype, device)


def measure(backend: str, shape: tuple[int, int, int, int], dtype: str, device: torch.device, rounds: int) -> list:
    """One row per op: ms, GB/s, and the share of a copy's bandwidth, measured in turns with it."""
    found = []
    with ops.backend(backend), torch.no_grad():
        for work in works(shape, DTYPES[dtype], device):
            first = work.ours(*work.draw())
            moved = first.moved(first.run())
            sets = min(sets_for(moved), MOST_SETS)
            copies = [torch.randn(moved // 8, device=device) for _ in range(2 * sets)]
            calls = {
                "copy": [lambda a=a, b=b: b.copy_(a) for a, b in zip(copies[::2], copies[1::2], strict=True)],
                "op": [first.run, *(work.ours(*work.draw()).run for _ in range(sets - 1))],
            }
            ms = interleaved_ms(calls, device, rounds)
            op = summarise(ms["op"])
            found.append(
                {
                    "benchmark": "ops",
                    "op": work.name,
                    "backend": backend,
                    "dtype": dtype,
                    "shape": list(shape),
                    "bytes": moved,
                    "median_ms": op.median,
                    "p20_ms": op.low,
                    "p80_ms": op.high,
                    "gb_per_s": moved / op.median / 1e6,
                    "copy_gb_per_s": 8 * (moved // 8) / summarise(ms["copy"]).median / 1e6,
                    "of_copy": paired_ratio(ms["copy"], ms["op"]).median,
                }
            )
            del first, calls, copies
    return found


def check(shape: tuple[int, int, int, int], dtype: str, device: torch.device, backend: str) -> None:
    """Every op on fresh random values against the reference: no number behind a red gate."""
    torch.manual_seed(0)
    for work in works(shape, DTYPES[dtype], device):
        inputs = work.draw()
        want = expected(work, inputs)
        with ops.backend(backend), torch.no_grad():
            check_op(work, work.ours(*copied(inputs)).run(), want.values)


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    header = ("op", "backend", "dtype", "ms", "20-80 %", "GB/s", "copy GB/s", "of copy")
    body = [
        (
            r["op"],
            r["backend"],
            r["dtype"],
            f"{r['median_ms']:.4f}",
            f"{r['p20_ms']:.4f}-{r['p80_ms']:.4f}",
            f"{r['gb_per_s']:.0f}",
            f"{r['copy_gb_per_s']:.0f}",
            f"{r['of_copy']:.2f}" + ("" if r["of_copy"] >= BAR else " below the bar"),
        )
        for r in found
    ]
    return rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m reluxfast.benchmarks.gpu.ops", description=__doc__)
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument("--backend", action="append", help="repeatable; default: cuda and triton")
    p.add_argument(
        "--dtype", action="append", choices=("float32", "float16", "bfloat16"), help="default: float32, bfloat16"
    )
    p.add_argument("--shape", type=int, nargs=4, default=(64, 64, 112, 112), help="N C H W; default: %(default)s")
    p.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    p.add_argument("--store", type=Path, help="append the rows to this JSON-lines file")
    return p


def main(argv: list[str] | None = None) -> int:
    """Check, measure, print, store on request."""
    args = parser().parse_args(argv)
    device, shape, found = torch.device(args.device), tuple(args.shape), []
    for backend in args.backend or ("cuda", "triton"):
        for dtype in args.dtype or ("float32", "bfloat16"):
            check((3, 17, 23, 19), dtype, device, backend)
            found += measure(backend, shape, dtype, device, args.rounds)
    print(to_text(found), flush=True)
    if args.store:
        environment = rows.environment(device)
        rows.store(({**row, "environment": environment} for row in found), args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
