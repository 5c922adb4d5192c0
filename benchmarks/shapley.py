"""Shapley values of multilayer perceptrons at equal evaluations, engine against peers: `python -m benchmarks.shapley`.

Everybody samples as many orders of the players. Values are first held against a long run of antithetic pairs in
float64, whose own error is far below that of what is timed: a provider whose distance from it, in its own expected
standard errors, is too large is wrong and not timed. Masked batches walk given orders, and are moreover held against
the engine's walk over the same ones.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Mapping
from typing import Any

import torch

import reluxfast as rx
from benchmarks import rows
from benchmarks.options import add_common
from benchmarks.progress import Progress
from benchmarks.providers import Unavailable, quiet_peers
from benchmarks.shapley_cases import CASES, TINY, Problem, make_problem
from benchmarks.shapley_providers import PROVIDERS, Prepared
from benchmarks.timing import interleave, paired_ratio, summarise

BASE = "reluxfast cpp"
SGEMM = "sgemm"
# RMS distance from the long run in standard errors of antithetic pairs at equal evaluations: 1 is expected of pairs, up
# to 2 was seen of independent orders; another baseline is 10 or more away.
GATE = 4.0
# Orders of the long run over those of what is timed.
_LONGER = 20


def gate(problem: Problem, prepared: Prepared, exact: torch.Tensor, error: torch.Tensor) -> float:
    """RMS distance of values from the long run, in RMS standard errors."""
    values = prepared.call()
    if values.shape != exact.shape:
        raise ValueError(f"values: shape {tuple(exact.shape)} expected, got {tuple(values.shape)}")
    distance = values.double() - exact
    return float(distance.square().mean().sqrt() / error.square().mean().sqrt())


def long_run(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (N, d) of many orders in float64, and the standard errors that as many as are timed will have."""
    model, x = copy.deepcopy(problem.model).double(), problem.x.double()
    budget = _LONGER * problem.case.evaluations
    many = rx.shapley(model, x, problem.background.double(), n_evaluations=budget, estimator="permutation", seed=1)
    return many.values, many.standard_error * _LONGER**0.5


def sgemm(problem: Problem) -> Prepared:
    """The library's matrix product in the shape of the second layer, on as many FLOP as the engine's call takes."""
    first, second = problem.case.hidden
    count = 4096
    a, b = torch.randn(count, first), torch.randn(first, second)
    out = torch.empty(count, second)
    times = max(1, problem.case.flop // (2 * count * first * second))

    def call() -> torch.Tensor:
        for _ in range(times):
            torch.mm(a, b, out=out)
        return out

    return Prepared(call, f"{times} products {count} x {first} x {second}")


def measure(problem: Problem, providers: list[str], rounds: int) -> list[dict[str, Any]]:
    """One JSON-ready dict for each provider, and for sgemm."""
    case, found, timed = problem.case, {}, {}
    with quiet_peers(), Progress((rounds + 1) * (len(providers) + 1) + 1, case.name) as progress:
        progress.phase("a long run in float64")
        exact, error = long_run(problem)
        progress.step()
        for name in providers:
            progress.phase(f"checking {name}")
            try:
                prepared = PROVIDERS[name](problem)
            except Unavailable as reason:
                found[name] = {"status": "unavailable", "reason": str(reason)}
                progress.drop(rounds + 1)
                continue
            distance = gate(problem, prepared, exact, error)
            wrong = not distance <= GATE
            found[name] = {"status": "wrong" if wrong else "ok", "standard_errors": distance, "note": prepared.note}
            if not wrong:
                timed[name] = prepared
            progress.step()
        timed[SGEMM] = sgemm(problem)
        found[SGEMM] = {"status": "floor", "note": timed[SGEMM].note}
        timed[SGEMM].call()
        progress.step()
        progress.phase(f"timing, {rounds} rounds")
        seconds = interleave({name: p.call for name, p in timed.items()}, rounds, tick=progress.step)
    common = {
        "benchmark": "shapley",
        "case": case.name,
        "features": case.features,
        "hidden": list(case.hidden),
        "rows": case.rows,
        "orders": case.orders,
        "evaluations_per_row": case.evaluations,
        "flop": case.flop,
        "gate": GATE,
        "base": BASE,
        "environment": rows.environment(),
    }
    return [common | {"provider": name} | row | _numbers(name, seconds, case) for name, row in found.items()]


def _numbers(name: str, seconds: Mapping[str, list[float]], case: Any) -> dict[str, Any]:
    if name not in seconds:
        return {}
    stats = summarise(seconds[name])
    row: dict[str, Any] = stats.in_ms() | {"evaluations_per_s": case.rows * case.evaluations / stats.median}
    if BASE in seconds:
        row["over_base"] = paired_ratio(seconds[name], seconds[BASE]).plain()
    if name == BASE:
        row["of_sgemm_rate"] = paired_ratio(seconds[SGEMM], seconds[BASE]).plain()
    return row


def table(found: list[dict[str, Any]], title: str, error: str, form: str) -> str:
    """The rows of one case; `error` is the field that the gate looked at, shown in `form` below `title`."""
    body = []
    for row in found:
        cells = [row["provider"], row["status"], f"{row[error]:{form}}" if error in row else "-"]
        if "median_ms" in row:
            over = f"{row['over_base']['median']:.2f}x" if "over_base" in row else "-"
            cells += [f"{row['median_ms']:.2f}", f"{row['p20_ms']:.2f}-{row['p80_ms']:.2f}"]
            cells += [f"{row['evaluations_per_s'] / 1e6:.2f}", over]
        else:
            cells += ["-"] * 4
        body.append([*cells, row.get("note", row.get("reason", ""))])
    header = ("provider", "gate", title, "median ms", "20-80 %", "M evaluations/s", "/ " + BASE, "tuned to")
    return rows.table(header, body)


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows of one case as a table."""
    first = found[0]
    env = first["environment"]
    title = (
        f"{first['case']}: {first['features']} features, {first['hidden']} hidden units, {first['rows']} rows, "
        f"{first['orders']} orders, float32, {env['threads']} thread(s)\n{env['cpu']} ({env['cpu_capability']}), "
        f"commit {env['commit'] or 'unknown'}"
    )
    text = f"{title}\n{table(found, 'distance / SE', 'standard_errors', '.2f')}"
    base = next((row for row in found if "of_sgemm_rate" in row), None)
    return text if base is None else f"{text}\n{BASE}: {100 * base['of_sgemm_rate']['median']:.0f} % of the sgemm rate"


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.shapley", description=__doc__.splitlines()[0])
    p.add_argument("--case", action="append", choices=sorted(CASES), help="repeatable; default: all")
    p.add_argument("--provider", action="append", choices=list(PROVIDERS), help="repeatable; default: all")
    p.add_argument("--rounds", type=int, default=9, help="times every provider runs; default: %(default)s")
    add_common(p, "shapley")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run, print, store on request. 1 when the engine is wrong, else 0."""
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    wrong = False
    for name in args.case or list(CASES):
        problem = make_problem((TINY if args.tiny else CASES)[name])
        found = measure(problem, args.provider or list(PROVIDERS), args.rounds)
        print(to_text(found) + "\n", flush=True)
        if args.store:
            rows.store(({**row, "tiny": args.tiny} for row in found), args.store)
        wrong |= any(row["status"] == "wrong" for row in found if row["provider"].startswith("reluxfast"))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
