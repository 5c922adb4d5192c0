"""Exact Shapley values of multilayer perceptrons, engine against peers: `python -m benchmarks.shapley_exact`.

Everybody evaluates every coalition. Values are first held against an enumeration in float64, in which all masked inputs
are written out: a provider that is off by more than 1e-5 of the largest value is wrong and not timed.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from typing import Any

import numpy as np
import torch

import reluxfast as rx
from benchmarks import rows
from benchmarks.options import add_common
from benchmarks.progress import Progress
from benchmarks.providers import Unavailable, quiet_peers
from benchmarks.shapley import BASE, SGEMM, sgemm, table
from benchmarks.shapley_cases import Case, Problem, make_problem
from benchmarks.shapley_providers import Prepared
from benchmarks.timing import interleave, paired_ratio, summarise

GATE = 1e-5
# Largest number of players of shap's explainer: it takes seconds for a row.
_SHAP_PLAYERS = 12


class Exact(Case):
    """A case whose rows take all coalitions."""

    @property
    def evaluations(self) -> int:
        """Outputs of the network per row."""
        return 2**self.features - 1


CASES = {f"n{n}": Exact(f"n{n}", n, (128, 64), count, 0) for n, count in ((12, 64), (16, 4), (20, 1))}
TINY = {name: Exact(name, 5, (16, 8), 2, 0) for name in CASES}


def engine(problem: Problem) -> Prepared:
    """Sums of two tables of first-layer values."""
    explainer = rx.Explainer(problem.model, problem.x)
    options = {"baselines": problem.background, "estimator": "exact", "n_evaluations": 1 << 30}
    return Prepared(lambda: explainer.attribute(problem.x, None, "shapley", **options).values)


def enumerated(problem: Problem, at_once: int) -> torch.Tensor:
    """Values (N, n): masked inputs written out, `at_once` of a row's in each batch; sums in float64."""
    n = problem.case.features
    listed = torch.arange(2**n)
    present = (listed.unsqueeze(1) >> torch.arange(n)) & 1
    size = present.sum(1)
    weight = torch.tensor([1 / (n * math.comb(n - 1, s)) for s in range(n)], dtype=torch.float64)
    joined, missed = weight[(size - 1).clamp_min(0)].unsqueeze(1), weight[size.clamp_max(n - 1)].unsqueeze(1)
    count, masks = torch.where(present.bool(), joined, -missed), present.bool()
    found = []
    with torch.no_grad():
        for row in problem.x:
            parts = [problem.model(torch.where(some, row, problem.baseline)) for some in masks.split(at_once)]
            found.append(torch.cat(parts)[:, 0].double() @ count)
    return torch.stack(found)


def masked(problem: Problem) -> Prepared:
    """A torch masked forward, its batch tuned."""
    sizes = {size: _seconds(lambda size=size: enumerated(problem, size)) for size in (1024, 4096, 16_384)}
    best = min(sizes, key=sizes.__getitem__)
    return Prepared(lambda: enumerated(problem, best), f"{best} coalitions a batch")


def shap_exact(problem: Problem) -> Prepared:
    """shap's Exact explainer."""
    try:
        import shap
    except ImportError:
        raise Unavailable("shap is not installed; pip install 'reluxfast[shap]'") from None
    n = problem.case.features
    if n > _SHAP_PLAYERS:
        raise Unavailable(f"left out beyond {_SHAP_PLAYERS} players, got {n}: it takes seconds for a row")

    def f(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return problem.model(torch.from_numpy(np.asarray(batch, dtype=np.float32)))[:, 0].numpy()

    explainer = shap.ExactExplainer(f, shap.maskers.Independent(problem.background.numpy()))

    def call() -> torch.Tensor:
        return torch.from_numpy(np.asarray(explainer(problem.x.numpy(), max_evals=2**n + 1, silent=True).values))

    return Prepared(call)


PROVIDERS = {BASE: engine, "masked batch": masked, "shap exact": shap_exact}


def _seconds(call: Any) -> float:
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(problem: Problem, rounds: int) -> list[dict[str, Any]]:
    """One JSON-ready dict for each provider, and for sgemm on as many FLOP behind the first layer."""
    case, found, timed = problem.case, {}, {}
    wide = Problem(case, copy.deepcopy(problem.model).double(), problem.x.double(), problem.background.double())
    with quiet_peers(), Progress((rounds + 1) * (len(PROVIDERS) + 1) + 1, case.name) as progress:
        progress.phase("enumeration in float64")
        exact = enumerated(wide, 4096)
        progress.step()
        for name, provider in PROVIDERS.items():
            progress.phase(f"checking {name}")
            try:
                prepared = provider(problem)
            except Unavailable as reason:
                found[name] = {"status": "unavailable", "reason": str(reason)}
                progress.drop(rounds + 1)
                continue
            error = float((prepared.call().double() - exact).abs().max() / exact.abs().max())
            found[name] = {"status": "ok" if error <= GATE else "wrong", "error": error, "note": prepared.note}
            if error <= GATE:
                timed[name] = prepared.call
            progress.step()
        floor = sgemm(problem)
        timed[SGEMM], found[SGEMM] = floor.call, {"status": "floor", "note": floor.note}
        floor.call()
        progress.step()
        progress.phase(f"timing, {rounds} rounds")
        seconds = interleave(timed, rounds, tick=progress.step)
    common = {
        "benchmark": "shapley_exact",
        "case": case.name,
        "features": case.features,
        "hidden": list(case.hidden),
        "rows": case.rows,
        "evaluations_per_row": case.evaluations,
        "flop": case.flop,
        "gate": GATE,
        "base": BASE,
        "environment": rows.environment(),
    }
    for name, sample in seconds.items():
        stats = summarise(sample)
        found[name] |= stats.in_ms() | {"evaluations_per_s": case.rows * case.evaluations / stats.median}
        if BASE in seconds:
            found[name]["over_base"] = paired_ratio(sample, seconds[BASE]).plain()
    return [common | {"provider": name} | row for name, row in found.items()]


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows of one case as a table."""
    first = found[0]
    env = first["environment"]
    title = (
        f"{first['case']}: {first['features']} players, {first['hidden']} hidden units, {first['rows']} row(s), every "
        f"coalition, float32, {env['threads']} thread(s)\n{env['cpu']} ({env['cpu_capability']}), "
        f"commit {env['commit'] or 'unknown'}"
    )
    return f"{title}\n{table(found, 'error', 'error', '.1e')}"


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.shapley_exact", description=__doc__.splitlines()[0])
    p.add_argument("--case", action="append", choices=sorted(CASES), help="repeatable; default: all")
    p.add_argument("--rounds", type=int, default=9, help="times every provider runs; default: %(default)s")
    add_common(p, "shapley_exact")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run, print, store on request. 1 when the engine is wrong, else 0."""
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    wrong = False
    for name in args.case or list(CASES):
        found = measure(make_problem((TINY if args.tiny else CASES)[name]), args.rounds)
        print(to_text(found) + "\n", flush=True)
        if args.store:
            rows.store(({**row, "tiny": args.tiny} for row in found), args.store)
        wrong |= found[0]["status"] == "wrong"
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
