"""Baselines of methods that compare an input with another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reluxfast.errors import InvalidInput


def baselines(inputs: Sequence[torch.Tensor], baseline: Any) -> list[torch.Tensor]:
    """One tensor (N, ...) per input, in its dtype; a row that stands for all is expanded, not repeated.

    Args:
        inputs: tensors (N, ...).
        baseline: None (zeros), a number, a Tensor like one row or like the input; a tuple of these, one per input.

    Raises:
        InvalidInput: it fits no input, or is of another kind.
    """
    given = baseline if isinstance(baseline, tuple) else (baseline,) * len(inputs)
    if len(given) != len(inputs):
        raise InvalidInput("baseline", f"must have one entry per input ({len(inputs)})", len(given))
    return [_baseline(x, b) for x, b in zip(inputs, given, strict=True)]


def _baseline(x: torch.Tensor, baseline: Any) -> torch.Tensor:
    if baseline is None:
        baseline = 0.0
    if isinstance(baseline, (int, float)) and not isinstance(baseline, bool):
        return x.new_full((1, *x.shape[1:]), float(baseline)).expand_as(x)
    if isinstance(baseline, np.ndarray):
        baseline = torch.from_numpy(np.ascontiguousarray(baseline))
    if isinstance(baseline, torch.Tensor):
        if tuple(baseline.shape) in (tuple(x.shape[1:]), (1, *x.shape[1:]), tuple(x.shape)):
            return baseline.detach().to(device=x.device, dtype=x.dtype).expand_as(x)
        rule = f"must have the shape of a row {tuple(x.shape[1:])} or of x {tuple(x.shape)}"
        raise InvalidInput("baseline", rule, tuple(baseline.shape))
    raise InvalidInput("baseline", "must be None, a number, a Tensor or a numpy array", type(baseline).__name__)
