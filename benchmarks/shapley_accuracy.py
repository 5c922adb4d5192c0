"""Seconds until Shapley values are right to a stated error: `python -m benchmarks.shapley_accuracy`.

On a trained network (breast cancer data, or sums of products of three elements) each provider gets the number of orders
at which its root-mean-square error is the stated share of a row's range of values, found by its own errors at several
seeds (variance falls with the number of orders); then that many orders are timed, interleaved. What they are held
against: every coalition where there are at most 12 features, else 50,000 antithetic pairs in float64.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import reluxfast as rx
from benchmarks import rows
from benchmarks.options import add_common
from benchmarks.progress import Progress
from benchmarks.providers import Unavailable, quiet_peers
from benchmarks.shapley_cases import Problem, interacting, trained
from benchmarks.shapley_providers import PROVIDERS, Prepared
from benchmarks.timing import interleave, paired_ratio, summarise

BASE = "reluxfast cpp"
_ONE_BACKGROUND = ("captum tuned", "shap permutation")
# Network, features, rows, background rows, peers.
CASES = {
    "d12": (trained, 12, 64, 1, _ONE_BACKGROUND),
    "d30": (trained, 30, 64, 1, _ONE_BACKGROUND),
    "d30, 32 background rows": (trained, 30, 16, 32, ("shap permutation",)),
    "products, d12": (interacting, 12, 64, 1, _ONE_BACKGROUND),
    "products, d30": (interacting, 30, 64, 1, _ONE_BACKGROUND),
    "products, d30, 32 background rows": (interacting, 30, 16, 32, ("shap permutation",)),
}
_SEEDS = 4
_EXACT_UP_TO = 12


def truth(problem: Problem, quick: bool) -> torch.Tensor:
    """Values (N, d) in float64."""
    model, x = copy.deepcopy(problem.model).double(), problem.x.double()
    background, n = problem.background.double(), problem.case.features
    if n <= _EXACT_UP_TO:
        return rx.shapley(model, x, background, estimator="exact", n_evaluations=1 << 40).values
    pairs = 500 if quick else 50_000
    budget = pairs * 2 * (n - 1) + 1
    return rx.shapley(model, x, background, estimator="permutation", n_evaluations=budget, seed=99).values


def error(problem: Problem, provider: Callable[[Problem], Prepared], orders: int, exact: torch.Tensor) -> float:
    """Root-mean-square error over seeds, rows and players, as a share of each row's range of values."""
    spread = (exact.amax(1) - exact.amin(1)).unsqueeze(1)
    squares = []
    for seed in range(_SEEDS):
        given = replace(problem, case=replace(problem.case, orders=orders), seed=seed)
        squares.append(((provider(given).call().double() - exact) / spread).square().mean())
    return math.sqrt(float(torch.stack(squares).mean()))


def orders_for(
    problem: Problem, provider: Callable[[Problem], Prepared], exact: torch.Tensor, wanted: float, most: int
) -> tuple[int, float]:
    """How many orders, `most` at most, bring the error to `wanted`, and the error they have; orders come in pairs."""
    orders, too_few, best = 16, 0, None
    for _ in range(14):
        found = error(problem, provider, orders, exact)
        needed = 2 * math.ceil(orders * (found / wanted) ** 2 / 2)
        if found <= wanted:
            best = orders, found
            if orders <= max(2, too_few + 2, 1.1 * too_few):
                break
            # Background rows that are not yet used equally often keep the error above what the root says.
            orders = needed if too_few < needed < orders else 2 * round((too_few + orders) / 4)
            orders = max(orders, too_few + 2)
        else:
            too_few = max(too_few, orders)
            if orders == most:
                break
            orders = min(most, max(needed, too_few + 2) if best is None else 2 * round((too_few + best[0]) / 4))
            if best is not None and orders in (too_few, best[0]):
                break
    return best or (orders, found)


def measure(name: str, wanted: float, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """One JSON-ready dict for each provider of a case."""
    network, features, count, backgrounds, peers = CASES[name]
    problem = network(features, 4 if quick else count, backgrounds, quick)
    found, timed = {}, {}
    with quiet_peers(), Progress(len(peers) + 2 + rounds * (len(peers) + 1), name) as progress:
        progress.phase("exact values")
        exact = truth(problem, quick)
        progress.step()
        for provider in (BASE, *peers):
            progress.phase(f"how much {provider} needs")
            try:
                orders, reached = orders_for(problem, PROVIDERS[provider], exact, wanted, 32 if quick else 1 << 14)
            except Unavailable as reason:
                found[provider] = {"status": "unavailable", "reason": str(reason)}
                progress.drop(rounds)
                continue
            prepared = PROVIDERS[provider](replace(problem, case=replace(problem.case, orders=orders)))
            timed[provider] = prepared.call
            found[provider] = {"status": "ok", "orders": orders, "error": reached, "note": prepared.note}
            progress.step()
        progress.phase(f"timing, {rounds} rounds")
        seconds = interleave(timed, rounds, tick=progress.step)
    common = {
        "benchmark": "shapley_accuracy",
        "case": name,
        "features": features,
        "rows": len(problem.x),
        "backgrounds": backgrounds,
        "wanted_error": wanted,
        "base": BASE,
        "tiny": quick,
        "environment": rows.environment(),
    }
    made = []
    for provider, row in found.items():
        if provider in seconds:
            row |= summarise(seconds[provider]).in_ms()
            row["over_base"] = paired_ratio(seconds[provider], seconds[BASE]).plain()
        made.append(common | {"provider": provider} | row)
    return made


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows of one case as a table."""
    first = found[0]
    env = first["environment"]
    title = (
        f"{first['case']}: {first['rows']} rows, {first['backgrounds']} background row(s), until the error is "
        f"{100 * first['wanted_error']:g} % of the range\n"
        f"{env['cpu']}, {env['threads']} thread(s), commit {env['commit'] or 'unknown'}"
    )
    body = []
    for row in found:
        if "median_ms" not in row:
            body.append([row["provider"], "-", "-", "-", "-", row.get("reason", "")])
            continue
        cells = [row["provider"], str(row["orders"]), f"{100 * row['error']:.2f} %", f"{row['median_ms']:.2f}"]
        body.append([*cells, f"{row['over_base']['median']:.1f}x", row["note"]])
    header = ("provider", "orders", "error", "median ms", "/ " + BASE, "tuned to")
    return f"{title}\n{rows.table(header, body)}"


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.shapley_accuracy", description=__doc__.splitlines()[0])
    p.add_argument("--case", action="append", choices=list(CASES), help="repeatable; default: all")
    p.add_argument("--error", type=float, default=0.02, help="share of a row's range; default: %(default)s")
    p.add_argument("--rounds", type=int, default=5, help="times every provider runs; default: %(default)s")
    add_common(p, "shapley_accuracy")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run, print, store on request."""
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    for name in args.case or list(CASES):
        found = measure(name, args.error, args.rounds, args.tiny)
        print(to_text(found) + "\n", flush=True)
        if args.store:
            rows.store(found, args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
