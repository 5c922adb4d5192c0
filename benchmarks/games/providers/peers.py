"""Captum's ShapleyValueSampling and shap's Permutation and Exact explainers, on the rows of a game."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reluxfast.benchmarks.games.networks import Game
from reluxfast.benchmarks.games.providers.sampler import Sampler
from reluxfast.benchmarks.problem import Unavailable
from reluxfast.benchmarks.tuning import fastest

_PERTURBATIONS = (8, 16, 32, 64, 128)


def shapley_value_sampling() -> Callable[[Any], Any]:
    """Captum's class."""
    try:
        from captum.attr import ShapleyValueSampling
    except ImportError:
        raise Unavailable("Captum is not installed; pip install 'reluxfast[bench]'") from None
    return ShapleyValueSampling


def shap_module() -> Any:
    """shap."""
    try:
        import shap
    except ImportError:
        raise Unavailable("shap is not installed; pip install 'reluxfast[shap]'") from None
    return shap


def captum(game: Game, perturbations: int) -> Sampler:
    """Independent orders; one output at a time, so that K outputs take K times as many evaluations."""
    if len(game.background) > 1:
        raise Unavailable(f"Captum's ShapleyValueSampling takes one baseline row, got {len(game.background)}")
    explainer = shapley_value_sampling()(game.model)

    def values(orders: int, seed: int) -> Tensor:
        how = {"n_samples": orders, "perturbations_per_eval": perturbations}
        found = []
        for target in range(game.outputs):
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                found.append(explainer.attribute(game.x, game.background, target=target, **how))
        return torch.stack(found, 1)

    return values


def best_perturbations(game: Game) -> int:
    """Captum's fastest `perturbations_per_eval`, found on a few orders."""
    sizes = [size for size in _PERTURBATIONS if size <= 4 * game.players]
    return fastest(lambda size: captum(game, size)(4, 0), sizes or [game.players], game.x.device, 0.5)


def shap_permutation(game: Game) -> Sampler:
    """Orders walked forth and back, every evaluation the mean over all background rows."""
    shap = shap_module()
    outputs = _array_function(game)
    masker = shap.maskers.Independent(game.background.numpy(), max_samples=len(game.background))

    def explained(x: np.ndarray, pairs: int, seed: int) -> np.ndarray:
        explainer = shap.PermutationExplainer(outputs, masker, seed=seed)
        return explainer(x, max_evals=pairs * (2 * game.players + 1), silent=True).values

    def values(orders: int, seed: int) -> Tensor:
        return _laid_out(explained(game.x.numpy(), max(1, orders // 2), seed))

    explained(game.x[:1].numpy(), 1, 0)  # numba compiles
    return values


def shap_exact(game: Game) -> Callable[[], Tensor]:
    """Every coalition."""
    shap = shap_module()
    explainer = shap.ExactExplainer(_array_function(game), shap.maskers.Independent(game.background.numpy()))

    def values(x: np.ndarray) -> Tensor:
        return _laid_out(explainer(x, max_evals=2**game.players + 1, silent=True).values)

    values(game.x[:1].numpy())
    return lambda: values(game.x.numpy())


def _array_function(game: Game) -> Callable[[np.ndarray], np.ndarray]:
    def outputs(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found = game.model(torch.from_numpy(np.asarray(batch)).to(game.x.dtype)).numpy()
        return found[:, 0] if game.outputs == 1 else found

    return outputs


def _laid_out(values: np.ndarray) -> Tensor:
    """(N, d) or (N, d, K) as (N, K, d)."""
    found = torch.from_numpy(np.asarray(values))
    return found.unsqueeze(1) if found.dim() == 2 else found.transpose(1, 2)
