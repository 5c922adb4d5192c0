"""The engine: sampled orders, all coalitions, patches."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import reluxfast as rx
from reluxfast.benchmarks.games.networks import Game
from reluxfast.benchmarks.games.providers.sampler import Sampler
from reluxfast.benchmarks.problem import Unavailable


def explainer(model: nn.Module, x: Tensor, backend: str) -> rx.Explainer:
    """The captured model on one backend; Unavailable where that backend is not there."""
    try:
        return rx.Explainer(model, x, backend=backend)
    except rx.BackendUnavailable as error:
        raise Unavailable(str(error)) from error


def sampler(game: Game, backend: str) -> Sampler:
    """Antithetic pairs on the perceptron path, background rows in turn; all outputs at once."""
    captured = explainer(game.model, game.x, backend)

    def values(orders: int, seed: int) -> Tensor:
        budget = orders * (game.players - 1) + 1
        options: dict[str, Any] = {"estimator": "permutation", "n_evaluations": budget, "seed": seed}
        found = captured.attribute(game.x, None, "shapley", baselines=game.background, **options)
        return found.values.view(len(game.x), game.outputs, game.players)

    return values
