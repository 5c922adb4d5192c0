"""What benchmarks that set the engine beside its peers have in common: their options and their course."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from benchmarks import report, rows, runner
from benchmarks.cases import CASES, make_problem
from benchmarks.gate import Standard
from benchmarks.options import add_common
from benchmarks.precision import float32_as
from benchmarks.progress import Progress
from benchmarks.providers import Provider, is_engine, providers_on


@dataclass(frozen=True)
class Comparison:
    """One benchmark of engine and peers.

    Attributes:
        name: of the benchmark, in its rows and of the file they are stored in.
        providers: who is compared.
        standard: what their values are held against.
        merged_eps: see `cases.Problem`.
    """

    name: str
    providers: Mapping[str, Provider]
    standard: Standard
    merged_eps: bool = False


def add_arguments(p: argparse.ArgumentParser, comparison: Comparison) -> None:
    """All options but the one that says what is computed."""
    p.add_argument("--case", action="append", choices=sorted(CASES), help="network; repeatable; default: all")
    p.add_argument(
        "--provider", action="append", choices=list(comparison.providers), help="repeatable; default: all of the device"
    )
    p.add_argument("--batch", type=int, action="append", help="images per call; repeatable; default: 4")
    p.add_argument("--size", type=int, help="pixels per side; default: the case's own (224; digits 8)")
    p.add_argument("--rounds", type=int, default=7, help="times every provider runs; default: %(default)s")
    p.add_argument("--seed", type=int, default=0, help="of weights and images; default: %(default)s")
    p.add_argument("--device", default="cpu", help="default: %(default)s")
    p.add_argument("--tf32", action="store_true", help="let peers compute in TF32 on a GPU; the engine is IEEE float32")
    p.add_argument("--functional", action="store_true", help="the same networks written with F.relu")
    p.add_argument("--time-wrong", action="store_true", help="time wrong peers too; their rows still say so")
    add_common(p, comparison.name)


def run(comparison: Comparison, methods: Sequence[str], args: argparse.Namespace) -> int:
    """Run, print, store on request. 1 when the engine is wrong in a row (a wrong peer is listed only), else 0."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    offered = comparison.providers if args.provider else providers_on(device, comparison.providers)
    chosen = {name: prepare for name, prepare in offered.items() if not args.provider or name in args.provider}
    engine_wrong = False
    for name, batch in product(args.case or list(CASES), args.batch or [4]):
        with Progress(1, name) as progress:
            progress.phase("drawing weights and images")
            problem = make_problem(
                CASES[name],
                batch,
                args.size,
                tiny=args.tiny,
                functional=args.functional,
                merged_eps=comparison.merged_eps,
                seed=args.seed,
                device=device,
            )
        for method in methods:
            with float32_as("tf32" if args.tf32 else "ieee"):
                outcomes = runner.run(problem, method, chosen, args.rounds, comparison.standard, args.time_wrong)
                found = report.to_rows(comparison.name, problem, method, outcomes)
            print(report.to_text(found) + "\n", flush=True)
            if args.store:
                rows.store(({**row, "seed": args.seed} for row in found), args.store)
            engine_wrong |= any(o.status == "wrong" and is_engine(o.provider) for o in outcomes)
    return int(engine_wrong)
