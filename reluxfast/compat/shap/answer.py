"""What the engine is asked by explainers of tables, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reluxfast.attribution import Attribution

# Options of a method of the engine for so many players and background rows.
Options = Callable[[int, int], dict[str, Any]]


def uninterrupted(found: Attribution) -> Attribution:
    """What the engine found, unless Ctrl-C ended it, which it survives and shap does not.

    Raises:
        KeyboardInterrupt: rows or orders are missing.
    """
    if found.options.get("interrupted"):
        raise KeyboardInterrupt
    return found


@dataclass(frozen=True)
class Answer:
    """Attributions of d features and K outputs.

    Attributes:
        values: (N, d, K) float64.
        base: (N, K) float64.
        errors: (N, d, K) float64 standard errors, or None.
        inner: shape of the model's output for one row.
    """

    values: np.ndarray
    base: np.ndarray
    errors: np.ndarray | None
    inner: tuple[int, ...]
