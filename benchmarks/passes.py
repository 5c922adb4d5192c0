"""Convolution and matrix work of one attribution, in forward passes of the same network.

`python -m reluxfast.benchmarks.passes --help`. Counted at the dispatcher (`work.py`), on a call after the first one, so
that what is prepared once does not count. An input-gradient by autograd is 2: one pass each way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from reluxfast.benchmarks import rows
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps.problem import CASES, LRP_COMPOSITES, MapProblem
from reluxfast.benchmarks.maps.providers import PROVIDERS, providers_for
from reluxfast.benchmarks.options import add_common
from reluxfast.benchmarks.problem import ON_REQUEST, Unavailable
from reluxfast.benchmarks.progress import Progress
from reluxfast.benchmarks.quiet import quiet_peers
from reluxfast.benchmarks.work import CountedWork, Product

NETWORKS = tuple(name.split("/")[0] for name, case in CASES.items() if name.endswith(f"/{LRP_COMPOSITES[0]}"))
# channels_last changes where numbers lie, not how many there are.
COUNTED = tuple(
    name
    for name in PROVIDERS
    if name.startswith(("reluxfast", "captum", "zennit", "algebra")) and "channels_last" not in name
)


def forward_flop(problem: MapProblem) -> int:
    """FLOP of the network's own forward pass."""
    with torch.no_grad(), CountedWork() as work:
        problem.model(problem.x)
    return work.flop


def products(problem: MapProblem, provider: str) -> list[Product]:
    """Every convolution and matrix product of one attribution; Unavailable if this provider has no such composite."""
    prepared = PROVIDERS[provider](problem)
    prepared.call()
    with CountedWork() as work:
        prepared.call()
    return work.products


def passes(problem: MapProblem, provider: str) -> float:
    """FLOP of one attribution over those of one forward pass."""
    return sum(product.flop for product in products(problem, provider)) / forward_flop(problem)


def counted_for(problem: MapProblem, composites: Sequence[str]) -> list[str]:
    """Those who have one of the composites, where this problem is."""
    offered = {name for composite in composites for name in providers_for(replace(problem, method=composite))}
    return [name for name in COUNTED if name in offered and name not in ON_REQUEST]


def count(
    problem: MapProblem, providers: Sequence[str], composites: Sequence[str], progress: Progress
) -> list[dict[str, Any]]:
    """One JSON-ready dict for each provider and composite; `passes` is None where there is no such rule."""
    found, unit = [], forward_flop(problem)
    common = {
        "benchmark": "passes",
        "case": problem.network.name,
        "tiny": problem.tiny,
        "batch": problem.x.shape[0],
        "size": problem.x.shape[-1],
        "forward_flop": unit,
        "environment": rows.environment(problem.device),
    }
    with quiet_peers():
        for provider in providers:
            for composite in composites:
                progress.phase(f"{provider} {composite}")
                row: dict[str, Any] = {"provider": provider, "composite": composite, "passes": None}
                try:
                    calls = products(replace(problem, method=composite), provider)
                except Unavailable as error:
                    row["reason"] = str(error)
                else:
                    row |= {"passes": sum(c.flop for c in calls) / unit, "calls": len(calls)}
                    row["products"] = [(c.op, c.weight, c.flop) for c in calls]
                found.append(common | row)
                progress.step()
    return found


def to_text(found: list[dict[str, Any]]) -> str:
    """Providers below each other, composites side by side."""
    first = found[0]
    composites = list(dict.fromkeys(row["composite"] for row in found))
    cells: dict[str, dict[str, str]] = {}
    for row in found:
        known = row["passes"] is not None
        text = f"{row['passes']:.3f} ({row['calls']})" if known else "-"
        cells.setdefault(row["provider"], {})[row["composite"]] = text
    title = (
        f"{first['case']}, batch {first['batch']} at {first['size']}x{first['size']}: forward passes (calls) of one "
        f"attribution; a forward pass is {first['forward_flop'] / 1e9:.3f} GFLOP"
    )
    reasons = dict.fromkeys(f"{row['provider']}: {row['reason']}" for row in found if "reason" in row)
    body = [(name, *(texts[c] for c in composites)) for name, texts in cells.items()]
    return "\n".join([title, rows.table(("provider", *composites), body), *reasons])


def calls_to_text(row: dict[str, Any]) -> str:
    """Every product of one row, the largest first, equal ones together."""
    groups: dict[tuple, list[int]] = {}
    for op, weight, flop in row["products"]:
        groups.setdefault((op, tuple(weight), flop), []).append(flop)
    largest = sorted(groups.items(), key=lambda item: -sum(item[1]))
    body = [
        ("x".join(map(str, weight)), op, str(len(flops)), f"{sum(flops) / row['forward_flop']:.4f}")
        for (op, weight, _), flops in largest
    ]
    return f"{row['provider']}, {row['composite']}\n" + rows.table(("weight", "operation", "calls", "passes"), body)


def parser() -> argparse.ArgumentParser:
    """The command line of this count."""
    p = argparse.ArgumentParser(prog="python -m reluxfast.benchmarks.passes", description=__doc__.splitlines()[0])
    p.add_argument("--case", action="append", choices=NETWORKS, help="network; repeatable; default: all")
    p.add_argument("--composite", action="append", choices=LRP_COMPOSITES, help="repeatable; default: all")
    p.add_argument("--provider", action="append", choices=COUNTED, help="repeatable; default: all of the device")
    p.add_argument("--batch", type=int, default=1, help="images per call; default: %(default)s")
    p.add_argument("--size", type=int, help="pixels per side; default: the network's own (224; digits 8)")
    p.add_argument("--device", default="cpu", help="default: %(default)s")
    p.add_argument("--calls", action="store_true", help="list every call besides")
    add_common(p, "passes")
    return p


def main(argv: list[str] | None = None) -> int:
    """Count, print, store on request."""
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    composites = args.composite or list(LRP_COMPOSITES)
    for name in args.case or NETWORKS:
        with Progress(1, name) as progress:
            progress.phase("drawing weights and images")
            case = CASES[f"{name}/{composites[0]}"]
            axes = {**case.axes, "batch": args.batch} | ({"size": args.size} if args.size else {})
            problem = case.make(axes, Conditions(torch.device(args.device), args.tiny))
            providers = args.provider or counted_for(problem, composites)
            progress.expect(len(providers) * len(composites))
            found = count(problem, providers, composites, progress)
        print(to_text(found) + "\n", flush=True)
        for row in found if args.calls else ():
            if row["passes"] is not None:
                print(calls_to_text(row) + "\n", flush=True)
        if args.store:
            rows.store(found, args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
