"""Guided backpropagation and gradient, engine against peers: `python -m benchmarks.guided --help`."""

from __future__ import annotations

import argparse
import sys
from itertools import product

import torch

from benchmarks import report, rows, runner
from benchmarks.cases import CASES, make_problem
from benchmarks.float64 import METHODS
from benchmarks.options import add_common
from benchmarks.precision import float32_as
from benchmarks.progress import Progress
from benchmarks.providers import PROVIDERS, providers_on


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.guided", description=__doc__)
    p.add_argument("--case", action="append", choices=sorted(CASES), help="network; repeatable; default: all")
    p.add_argument("--method", choices=METHODS, default="guided_backprop", help="default: %(default)s")
    p.add_argument("--provider", action="append", choices=list(PROVIDERS), help="repeatable; default: all")
    p.add_argument("--batch", type=int, action="append", help="images per call; repeatable; default: 4")
    p.add_argument("--size", type=int, help="pixels per side; default: the case's own (224; digits 8)")
    p.add_argument("--rounds", type=int, default=7, help="times every provider runs; default: %(default)s")
    p.add_argument("--seed", type=int, default=0, help="of weights and images; default: %(default)s")
    p.add_argument("--device", default="cpu", help="default: %(default)s")
    p.add_argument("--tf32", action="store_true", help="let peers compute in TF32 on a GPU; the engine is IEEE float32")
    p.add_argument("--functional", action="store_true", help="the same networks written with F.relu")
    add_common(p, "guided")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run, print, store on request. 1 when the engine is wrong in a row (a wrong peer is listed only), else 0."""
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    offered = PROVIDERS if args.provider else providers_on(device)
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
                seed=args.seed,
                device=device,
            )
        with float32_as("tf32" if args.tf32 else "ieee"):
            outcomes = runner.run(problem, args.method, chosen, args.rounds)
            found = report.to_rows(problem, args.method, outcomes)
        print(report.to_text(found) + "\n", flush=True)
        if args.store:
            rows.store(({**row, "seed": args.seed} for row in found), args.store)
        engine_wrong |= any(o.status == "wrong" and o.provider.startswith("reluxfast") for o in outcomes)
    return int(engine_wrong)


if __name__ == "__main__":
    sys.exit(main())
