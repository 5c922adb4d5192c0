"""Which output of each row is explained: Captum's five forms of a target, and "all"."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from reluxfast.errors import InvalidInput


def flat_targets(target: Any, shape: tuple[int | None, ...], rows: int) -> torch.Tensor | None:
    """Index of the explained element in each row of the flattened output.

    Args:
        target: None, int, integer Tensor or numpy array (1,) or (N,), list of N ints, tuple of ints, list of N
            tuples, or "all".
        shape: shape (N, ...) of the output.
        rows: N.

    Returns:
        int64 Tensor (N,), or None for "all".

    Raises:
        InvalidInput: form or range does not fit the output.
    """
    inner = tuple(int(s) for s in shape[1:])
    shown = f"(N, {', '.join(map(str, inner))})" if inner else "(N,)"
    if isinstance(target, str):
        if target != "all":
            raise InvalidInput("target", "as a string can only be 'all'", repr(target))
        if len(inner) != 1:
            raise InvalidInput("target", "'all' needs a model output of shape (N, K)", shown, "Pass a tuple index")
        return None
    if target is None:
        if math.prod(inner) != 1:
            raise InvalidInput(
                "target",
                f"must say which output to explain, the model returns {shown}",
                None,
                "Pass an int, one int per row, a tuple index, or 'all'",
            )
        return torch.zeros(rows, dtype=torch.int64, device="cpu")
    if isinstance(target, np.ndarray) and target.dtype.kind in "iufbc":
        target = torch.from_numpy(np.ascontiguousarray(target))
    if isinstance(target, torch.Tensor):
        if target.dtype.is_floating_point or target.dtype == torch.bool or target.is_complex():
            raise InvalidInput("target", "as a Tensor must hold integers", target.dtype)
        if target.numel() == 1 and target.dim() <= 1 and rows != 1:
            return _per_row([int(target)] * rows, inner, rows, shown)
        if target.dim() > 1 or target.numel() != rows:
            raise InvalidInput("target", f"as a Tensor must have shape (1,) or (N,) = ({rows},)", tuple(target.shape))
        return _per_row([int(t) for t in target.reshape(-1)], inner, rows, shown)
    if _is_int(target):
        return _per_row([int(target)] * rows, inner, rows, shown)
    if isinstance(target, tuple):
        return _flat([target] * rows, inner, shown)
    if isinstance(target, list):
        if len(target) != rows:
            raise InvalidInput("target", f"as a list must have one entry per row ({rows})", f"{len(target)} entries")
        if all(isinstance(t, tuple) for t in target):
            return _flat(target, inner, shown)
        if all(_is_int(t) for t in target):
            return _per_row([int(t) for t in target], inner, rows, shown)
        raise InvalidInput("target", "as a list must hold ints or tuples of ints", target)
    raise InvalidInput(
        "target",
        "must be None, an int, an integer Tensor, a tuple, a list of ints or tuples, or 'all'",
        type(target).__name__,
    )


def run_targets(target: Any, shape: tuple[int | None, ...], rows: int) -> torch.Tensor | None:
    """`flat_targets` as a run wants them, (N, 1)."""
    flat = flat_targets(target, shape, rows)
    return None if flat is None else flat[:, None]


def element_targets(target: Any, shape: tuple[int | None, ...], rows: int) -> torch.Tensor | None:
    """Indices of the explained elements of each row of a hidden value.

    Args:
        target: as for `flat_targets`, but None means all elements, and an int or a tuple that stops short means
            everything behind it: a whole channel of a map.
        shape: shape (N, ...) of the value.
        rows: N.

    Returns:
        int64 Tensor (N, M), or None for "all" (of a value (N, K)).

    Raises:
        InvalidInput: form or range does not fit the value.
    """
    inner = tuple(int(s) for s in shape[1:])
    if target is None:
        return torch.arange(math.prod(inner), device="cpu").expand(rows, -1)
    if isinstance(target, str) or len(inner) < 2:
        return run_targets(target, shape, rows)
    depth = len(target) if isinstance(target, tuple) else 1
    if isinstance(target, list) and target and all(isinstance(t, tuple) for t in target):
        depth = len(target[0])
    depth = min(max(depth, 1), len(inner))
    behind = math.prod(inner[depth:])
    first = flat_targets(target, (None, *inner[:depth]), rows)
    return first[:, None] * behind + torch.arange(behind, device="cpu")


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _per_row(classes: list[int], inner: tuple[int, ...], rows: int, shown: str) -> torch.Tensor:
    if len(inner) != 1:
        raise InvalidInput(
            "target",
            f"as an int needs a model output of shape (N, K), the model returns {shown}",
            classes[0] if classes else classes,
            "Pass a tuple index into the output's other dimensions",
        )
    return _flat([(c,) for c in classes], inner, shown)


def _flat(indices: list[tuple], inner: tuple[int, ...], shown: str) -> torch.Tensor:
    flat = []
    for index in indices:
        if len(index) != len(inner) or not all(_is_int(i) for i in index):
            raise InvalidInput(
                "target", f"as a tuple must hold {len(inner)} ints for an output of shape {shown}", index
            )
        position = 0
        for i, size in zip(index, inner, strict=True):
            if not -size <= i < size:
                raise InvalidInput("target", f"must lie in [{-size}, {size - 1}] for an output of shape {shown}", i)
            position = position * size + int(i) % size
        flat.append(position)
    return torch.tensor(flat, dtype=torch.int64, device="cpu")
