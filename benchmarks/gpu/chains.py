"""Nanoseconds per evaluation of `mlp_chains` beside masked inputs: `python -m reluxfast.benchmarks.gpu.chains`.

Each backend twice: IEEE float32, and TF32 behind the first layer; masked inputs likewise, where TF32 is in every layer.
Rates count what chains must do, whatever the provider does: per evaluation one column of the first weight and every
further weight, two operations each; they stand beside a large matrix product of the same run and precision, and beside
the error of single marginals against float64.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reluxfast.benchmarks import rows
from reluxfast.benchmarks.gpu.clock import interleaved_ms
from reluxfast.benchmarks.micro.chains import NETWORKS, Chains
from reluxfast.benchmarks.precision import float32_as
from reluxfast.benchmarks.timing import paired_ratio, summarise

# Precision -> largest relative error (L2) of marginals: several times that of rounding, far below that of a mistake.
PRECISIONS = {"ieee": 1e-4, "tf32": 2e-2}


def check(name: str, device: torch.device, form: str, precision: str) -> float:
    """The relative error (L2) against float64 on fresh random values: no number behind a red gate."""
    torch.manual_seed(0)
    chains = Chains.random(name, 3, 5, device)
    with torch.no_grad():
        got, want = chains.pairs(form, precision), chains.double().masked()
    error, limit = float((got - want).norm() / want.norm()), PRECISIONS[precision]
    if not error <= limit:
        raise AssertionError(f"{form} ({precision}) is {error:.2e} from float64 on {name}, {limit:.0e} allowed")
    return error


def measure(
    name: str, backends: list[str], count: int, pairs: int, device: torch.device, rounds: int, size: int
) -> list[dict[str, Any]]:
    """Rows for masked inputs and for each backend, in each precision: ns per evaluation, gain over masked inputs."""
    forms = [(form, precision) for precision in PRECISIONS for form in ("masked", *backends)]
    errors = {form: check(name, device, *form) for form in forms}
    chains, a = Chains.random(name, count, pairs, device), torch.randn(size, size, device=device)

    def product(precision: str) -> Tensor:
        with float32_as(precision):
            return a @ a

    calls = {form: [lambda form=form: chains.pairs(*form)] for form in forms}
    calls |= {("matmul", p): [lambda p=p: product(p)] for p in PRECISIONS}
    with torch.no_grad():
        ms = interleaved_ms(calls, device, rounds, passes=1)
    found = []
    for form, precision in forms:
        own, stats = ms[form, precision], summarise(ms[form, precision])
        rate = chains.flops() / stats.median / 1e9
        peak = 2.0 * size**3 / summarise(ms["matmul", precision]).median / 1e9
        found.append(
            {
                "benchmark": "chains",
                "network": name,
                "form": form,
                "precision": precision,
                "rows": count,
                "pairs": pairs,
                "median_ms": stats.median,
                "p20_ms": stats.low,
                "p80_ms": stats.high,
                "ns_per_evaluation": 1e6 * stats.median / chains.evaluations(),
                "gain": paired_ratio(ms["masked", precision], own).median,
                "tflops": rate,
                "of_matmul": rate / peak,
                "error": errors[form, precision],
            }
        )
    return found


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    header = (
        "network",
        "form",
        "precision",
        "ms",
        "20-80 %",
        "ns per evaluation",
        "gain",
        "TFLOP/s",
        "of matmul",
        "error",
    )
    body = [
        (
            r["network"],
            r["form"],
            r["precision"],
            f"{r['median_ms']:.3f}",
            f"{r['p20_ms']:.3f}-{r['p80_ms']:.3f}",
            f"{r['ns_per_evaluation']:.3f}",
            f"{r['gain']:.2f}",
            f"{r['tflops']:.2f}",
            f"{r['of_matmul']:.2f}",
            f"{r['error']:.1e}",
        )
        for r in found
    ]
    return rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m reluxfast.benchmarks.gpu.chains", description=__doc__)
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument("--backend", action="append", help="repeatable; default: cuda and triton")
    p.add_argument("--network", action="append", choices=list(NETWORKS), help="repeatable; default: all")
    p.add_argument("--rows", type=int, default=128, help="default: %(default)s")
    p.add_argument("--pairs", type=int, default=64, help="of chains for each row; default: %(default)s")
    p.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    p.add_argument("--matmul", type=int, default=8192, help="size of the matrix product; default: %(default)s")
    p.add_argument("--store", type=Path, help="append the rows to this JSON-lines file")
    return p


def main(argv: list[str] | None = None) -> int:
    """Check, measure, print, store on request."""
    args = parser().parse_args(argv)
    device, backends, found = torch.device(args.device), args.backend or ["cuda", "triton"], []
    for name in args.network or NETWORKS:
        found += measure(name, backends, args.rows, args.pairs, device, args.rounds, args.matmul)
    print(to_text(found), flush=True)
    if args.store:
        environment = rows.environment(device)
        rows.store(({**row, "environment": environment} for row in found), args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
