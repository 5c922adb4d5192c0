"""Who computes Shapley values in a benchmark: the engine, masked batches, Captum and shap.

A provider is a function `Problem` -> `Prepared`; what a user does once happens in it, only `Prepared.call` is timed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import reluxfast as rx
from benchmarks.providers import Unavailable
from benchmarks.shapley_cases import Problem
from reluxfast.coalitions.designs import orders


@dataclass(frozen=True)
class Prepared:
    """`call()` returns values (N, d); `note` says how the provider was tuned."""

    call: Callable[[], Tensor]
    note: str = ""


def engine(problem: Problem) -> Prepared:
    """Antithetic pairs on the perceptron path, background rows in turn."""
    explainer = rx.Explainer(problem.model, problem.x)
    return Prepared(lambda: explainer.attribute(problem.x, None, "shapley", **_sampled(problem)).values)


def reference(problem: Problem) -> Prepared:
    """The engine's pure-torch reference."""
    explainer = rx.Explainer(problem.model, problem.x, backend="reference")
    return Prepared(lambda: explainer.attribute(problem.x, None, "shapley", **_sampled(problem)).values)


def _sampled(problem: Problem) -> dict[str, Any]:
    return {
        "baselines": problem.background,
        "estimator": "permutation",
        "n_evaluations": problem.case.evaluations,
        "seed": problem.seed,
    }


def masked_values(forward: Callable[[Tensor], Tensor], problem: Problem, drawn: Tensor, at_once: int) -> Tensor:
    """Values (N, d) of rows by masked inputs: `at_once` of a row's orders (N, P, d) in each batch."""
    found = []
    n = problem.case.features
    sizes = torch.arange(1, n).view(1, -1, 1)
    with torch.no_grad():
        low, high = forward(problem.baseline[None]), forward(problem.x)
        for row, full, listed in zip(problem.x, high, drawn, strict=True):
            total = torch.zeros(n)
            for some in listed.split(at_once):
                rank = torch.empty_like(some).scatter_(1, some, torch.arange(n).expand_as(some))
                batch = torch.where(rank.unsqueeze(1) < sizes, row, problem.baseline)
                inner = forward(batch.view(-1, n)).view(len(some), n - 1)
                ends = [end.expand(len(some), 1) for end in (low, full)]
                marginals = torch.cat([ends[0], inner, ends[1]], 1).diff(dim=1)
                total.index_add_(0, some.flatten(), marginals.flatten())
            found.append(total / len(listed))
    return torch.stack(found)


def _masked(problem: Problem, forward: Callable[[Tensor], Tensor]) -> Prepared:
    count = problem.case.orders
    drawn = orders("plain", problem.seed, torch.arange(len(problem.x)), range(count), problem.case.features).long()
    best: tuple[float, int] = (float("inf"), count)
    for at_once in dict.fromkeys((count, *(s for s in (1, 2, 5, 8, 10, 25) if s < count))):
        best = min(best, (_seconds(partial(masked_values, forward, problem, drawn, at_once)), at_once))
    return Prepared(lambda: masked_values(forward, problem, drawn, best[1]), f"{best[1]} orders a batch")


def masked(problem: Problem) -> Prepared:
    """A torch masked forward, its batch tuned."""
    return _masked(problem, problem.model)


def masked_compiled(problem: Problem) -> Prepared:
    """The same with the network compiled by torch.compile."""
    return _masked(problem, torch.compile(problem.model, dynamic=True))


def _captum(problem: Problem, sizes: tuple[int, ...]) -> Prepared:
    try:
        from captum.attr import ShapleyValueSampling
    except ImportError:
        raise Unavailable("Captum is not installed; pip install 'reluxfast[bench]'") from None
    explainer = ShapleyValueSampling(problem.model)
    baseline = problem.baseline[None]

    def call(size: int) -> Tensor:
        torch.manual_seed(problem.seed)
        with torch.no_grad():
            return explainer.attribute(
                problem.x, baseline, target=0, n_samples=problem.case.orders, perturbations_per_eval=size
            )

    best = min((_seconds(lambda size=size: call(size)), size) for size in sizes)[1] if len(sizes) > 1 else sizes[0]
    return Prepared(lambda: call(best), f"perturbations_per_eval={best}")


def captum(problem: Problem) -> Prepared:
    """Captum's ShapleyValueSampling as a user runs it."""
    return _captum(problem, (1,))


def captum_tuned(problem: Problem) -> Prepared:
    """Captum's ShapleyValueSampling at its best number of perturbations per evaluation."""
    return _captum(problem, tuple(s for s in (8, 16, 32, 64, 128) if s <= 4 * problem.case.features))


def shap_permutation(problem: Problem) -> Prepared:
    """shap's Permutation explainer, at as many evaluations."""
    try:
        import shap
    except ImportError:
        raise Unavailable("shap is not installed; pip install 'reluxfast[shap]'") from None
    model, x = problem.model, problem.x.numpy()

    def f(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(np.asarray(batch, dtype=np.float32)))[:, 0].numpy()

    masker = shap.maskers.Independent(problem.background.numpy())
    pairs = max(1, problem.case.orders // 2)

    def call() -> Tensor:
        explainer = shap.PermutationExplainer(f, masker, seed=problem.seed)
        found = explainer(x, max_evals=pairs * (2 * problem.case.features + 1), silent=True)  # for each background row
        return torch.from_numpy(np.asarray(found.values))

    return Prepared(call, f"{pairs} permutations, each walked both ways")


def _seconds(call: Callable[[], Tensor]) -> float:
    """The shorter of two runs after a first one."""
    call()
    found = []
    for _ in itertools.repeat(None, 2):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


PROVIDERS: dict[str, Callable[[Problem], Prepared]] = {
    "reluxfast cpp": engine,
    "reluxfast reference": reference,
    "masked batch": masked,
    "masked batch compiled": masked_compiled,
    "captum": captum,
    "captum tuned": captum_tuned,
    "shap permutation": shap_permutation,
}
