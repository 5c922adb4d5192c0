"""Who explains the patches of an image: the engine, masked batches, Captum and shap, and bare forward passes.

All but the engine run the network in channels-last order, at the fastest of some batch sizes.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from reluxfast.benchmarks.games.patches import GIVEN, OWN, PatchProblem
from reluxfast.benchmarks.games.providers import engine, peers
from reluxfast.benchmarks.problem import Prepared, ProviderTable
from reluxfast.benchmarks.tuning import fastest

_BATCHES = (4, 8, 16, 32)
# Images on which batch sizes are compared.
_TRIED = 32


def _engine(problem: PatchProblem, backend: str) -> Prepared:
    captured = engine.explainer(problem.model, problem.x, backend)
    budget = problem.orders * (problem.count - 1) + 1
    options = {"estimator": "permutation", "n_evaluations": budget, "seed": problem.seed}

    def call() -> Tensor:
        found = captured.attribute(problem.x, problem.target, "shapley", players=problem.players, **options)
        return found.values[0]

    return Prepared(call, GIVEN)


def _sizes(problem: PatchProblem) -> tuple[int, ...]:
    return _BATCHES[-1:] if problem.tiny else _BATCHES if problem.device.type == "cpu" else (32, 128)


@torch.no_grad()
def _forward(model: nn.Module, batch: Tensor, at_once: int) -> None:
    for some in batch.split(at_once):
        model(some)


@lru_cache(maxsize=2)  # an image and its small copy
def _tuned(problem: PatchProblem) -> int:
    """The fastest batch of bare passes: everybody who runs the network himself has the same one."""
    sizes = _sizes(problem)
    model, _ = problem.channels_last
    shape = (max(_TRIED, *sizes), *problem.x.shape[1:])
    batch = torch.randn(shape).to(problem.device).contiguous(memory_format=torch.channels_last)
    return fastest(partial(_forward, model, batch), sizes, problem.device, 1.0)


class MaskedForward:
    """Outputs of coalitions: masked images are written out, `at_once` of them to a batch."""

    def __init__(self, problem: PatchProblem):
        self._model, self._x = problem.channels_last
        self._labels, self._target = problem.labels[0], problem.target
        self.at_once = _tuned(problem)

    @torch.no_grad()
    def __call__(self, present: Tensor) -> Tensor:
        """(M,) outputs of coalitions (M, n) bool."""
        parts = [
            self._model(torch.where(some[:, self._labels], self._x, 0))[:, self._target]
            for some in present.split(self.at_once)
        ]
        return torch.cat(parts)


def _masked(problem: PatchProblem) -> Prepared:
    forward, orders, n = MaskedForward(problem), problem.drawn, problem.count

    def call() -> Tensor:
        positions = torch.arange(n, device=orders.device)
        rank = torch.empty_like(orders).scatter_(1, orders, positions.expand_as(orders))
        inner = (rank.unsqueeze(1) < positions[1:].unsqueeze(1)).flatten(0, 1)
        ends = torch.zeros(2, n, dtype=torch.bool, device=orders.device)
        ends[1] = True
        v = forward(torch.cat([inner, ends]))
        low, high = (end.expand(len(orders), 1) for end in v[-2:])
        along = torch.cat([low, v[:-2].view(len(orders), -1), high], 1).diff(dim=1)
        return along.gather(1, rank).mean(0)

    return Prepared(call, GIVEN, f"{forward.at_once} images a batch")


def _captum(problem: PatchProblem) -> Prepared:
    explainer_of = peers.shapley_value_sampling()
    model, x = problem.channels_last
    explainer, labels = explainer_of(model), problem.labels.expand(x.shape).contiguous()
    first = [int((problem.labels.flatten() == player).nonzero()[0]) for player in range(problem.count)]

    def values(orders: int, perturbations: int) -> Tensor:
        how = {"n_samples": orders, "perturbations_per_eval": perturbations, "feature_mask": labels}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed)
            found = explainer.attribute(x, 0, target=problem.target, **how)
        return found[0, 0].flatten()[first]

    best = fastest(partial(values, 1), _sizes(problem), problem.device, 1.0)
    return Prepared(partial(values, problem.orders, best), OWN, f"perturbations_per_eval={best}")


def _shap(problem: PatchProblem) -> Prepared:
    """shap on which patches are present, as a row of zeros and ones that a function makes images of."""
    shap = peers.shap_module()
    forward, n, pairs = MaskedForward(problem), problem.count, problem.orders // 2
    masker, everybody = shap.maskers.Independent(np.zeros((1, n))), np.ones((1, n))

    def outputs(present: np.ndarray) -> np.ndarray:
        return forward(torch.from_numpy(np.asarray(present)) > 0.5).numpy()

    def explained(pairs: int) -> Tensor:
        explainer = shap.PermutationExplainer(outputs, masker, seed=problem.seed)
        return torch.from_numpy(explainer(everybody, max_evals=pairs * (2 * n + 1), silent=True).values[0])

    explained(1)  # numba compiles
    note = f"{pairs} permutations, each walked both ways; {forward.at_once} images a batch"
    return Prepared(partial(explained, pairs), OWN, note)


def _bare(problem: PatchProblem) -> Prepared:
    model, _ = problem.channels_last
    at_once = _tuned(problem)
    batch = torch.randn(problem.amount, *problem.x.shape[1:]).to(problem.device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    return Prepared(partial(_forward, model, batch, at_once), None, f"{at_once} images a batch")


# Where who is compared, in the order of the table.
PROVIDERS: ProviderTable = {
    "reluxfast cuda": (("cuda",), partial(_engine, backend="cuda")),
    "reluxfast triton": (("cuda",), partial(_engine, backend="triton")),
    "reluxfast cpp": (("cpu",), partial(_engine, backend="cpp")),
    "masked batch": (("cpu", "cuda"), _masked),
    "captum tuned": (("cpu", "cuda"), _captum),
    "shap permutation": (("cpu",), _shap),
    "bare forward": (("cpu", "cuda"), _bare),
}
