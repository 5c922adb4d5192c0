"""What stands for absent features."""

from __future__ import annotations

from typing import Any

import torch

from reluxfast.compat.captum.errors import Refused


def one_for_each(baselines: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
    """Baselines as a tuple, of zeros where none are given.

    Raises:
        AssertionError: there are not as many as inputs.
    """
    given = (0,) * len(inputs) if baselines is None else baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != len(inputs):
        raise Refused("baselines", f"must be as many as the inputs ({len(inputs)})", len(given))
    return given


def given_starts(
    baselines: tuple[Any, ...], inputs: tuple[torch.Tensor, ...]
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.dtype, ...]]:
    """Baselines as tensors (1, ...), or all (N, ...) if examples have their own; and the dtype of each input with them.

    An input is handed on in its own dtype, in a wider one where its baseline needs that (a fraction among integers).

    Args:
        baselines: for each input a number, or a Tensor that broadcasts to it.
        inputs: (N, ...) each.

    Raises:
        AssertionError: a baseline does not fit its input.
    """
    starts, dtypes = zip(*map(_start, baselines, inputs), strict=True)
    rows = max(map(len, starts))
    return tuple(s.expand(rows, *s.shape[1:]) for s in starts), dtypes


def _start(baseline: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.dtype]:
    if isinstance(baseline, (int, float)):
        dtype = x.dtype if _holds(x.dtype, baseline) else torch.result_type(x, baseline)
        return torch.full((1, *x.shape[1:]), baseline, dtype=dtype, device=x.device), dtype
    if not isinstance(baseline, torch.Tensor):
        raise Refused("baselines", "must be Tensors or numbers", type(baseline).__name__)
    own = baseline.dim() == x.dim() and len(baseline) == len(x)
    try:
        start = baseline.detach().to(x.device).expand(len(x) if own else 1, *x.shape[1:])
    except RuntimeError:
        rule = f"must broadcast to the inputs {tuple(x.shape)}"
        raise Refused("baselines", rule, tuple(baseline.shape)) from None
    return start, torch.result_type(x, baseline)


def _holds(dtype: torch.dtype, number: float) -> bool:
    """Whether an element of this dtype can be this number."""
    if dtype.is_floating_point:
        return True
    return number in (0, 1) if dtype == torch.bool else float(number).is_integer()
