"""What an estimator hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Estimate:
    """Values of the players of a game.

    Attributes:
        values: (N, n, K) float64; (N, d, K) `of_elements`.
        standard_error: (N, n, K), or None where the estimator has none.
        n_evaluations: (N,) int64 outputs of the model for each row, those of the background not counted.
        facts: what to add to the result's options.
        of_elements: whether there is a value for each element of a row, whoever the players are.
    """

    values: torch.Tensor
    standard_error: torch.Tensor | None
    n_evaluations: torch.Tensor
    facts: dict[str, Any] = field(default_factory=dict)
    of_elements: bool = False
