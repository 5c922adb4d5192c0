"""What a user gives to a coalition method, checked and brought into one form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reluxfast.coalitions.models import RowOrder
from reluxfast.errors import InvalidInput
from reluxfast.methods.inputs import as_tuple
from reluxfast.player_maps import PlayerMap


@dataclass(frozen=True)
class Rows:
    """Rows to explain.

    Attributes:
        x: (N, *shape), detached.
        order: of the elements of a row in computation.
        as_array: whether they were given as numpy arrays, which is then what a function is given.
    """

    x: torch.Tensor
    order: RowOrder
    as_array: bool


def one_tensor(x: Any) -> tuple[torch.Tensor]:
    """`x`, which must be a single floating-point Tensor."""
    if not isinstance(x, (tuple, torch.Tensor)):
        remedy = "Use torch.as_tensor(...); arrays are for functions and fitted estimators"
        raise InvalidInput("x", "must be a Tensor to explain a model", type(x).__name__, remedy)
    if isinstance(x, tuple):
        remedy = "Wrap the model in one that takes a single Tensor"
        raise InvalidInput("x", "must be one Tensor for coalition methods", f"a tuple of {len(x)}", remedy)
    return as_tuple(x)


def given_rows(x: Any) -> Rows:
    """Rows for a function: Tensors as they are, arrays and tables in floating point."""
    if isinstance(x, torch.Tensor):
        rows = one_tensor(x)[0].detach()
        last = rows.dim() == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last)
        return Rows(rows, RowOrder(tuple(rows.shape[1:]), last), False)
    if np.ma.isMaskedArray(x):
        raise InvalidInput("x", "must not be a masked array", type(x).__name__, "Fill it: x.filled(value)")
    try:
        array = np.asarray(x)
    except ValueError:
        raise InvalidInput("x", "must hold numbers (N, ...), as many in each row", type(x).__name__) from None
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise InvalidInput("x", "must hold numbers (N, ...)", f"{type(x).__name__} of {array.dtype}")
    rows = torch.from_numpy(np.array(array, dtype=np.float32 if array.dtype == np.float32 else np.float64))
    return Rows(rows, RowOrder(tuple(rows.shape[1:]), False), True)


def given_background(baselines: Any, x: torch.Tensor) -> torch.Tensor:
    """(B, *shape) of x's dtype: zeros, one row, or a set of rows."""
    shape = tuple(x.shape[1:])
    if baselines is None:
        return x.new_zeros(1, *shape)
    try:
        given = baselines if isinstance(baselines, torch.Tensor) else torch.from_numpy(_real(baselines))
    except (TypeError, ValueError):
        raise InvalidInput("baselines", "must hold numbers, as many in each row", type(baselines).__name__) from None
    if given.is_complex() or given.layout != torch.strided:
        raise InvalidInput("baselines", "must be a dense Tensor of real numbers", f"{given.dtype}, {given.layout}")
    if tuple(given.shape) == shape and given.dim() < x.dim():
        given = given.unsqueeze(0)
    if tuple(given.shape[1:]) != shape or given.dim() != x.dim() or not len(given):
        rule = f"must be one row {shape} or a set of rows (B, {', '.join(map(str, shape))})"
        raise InvalidInput("baselines", rule, tuple(given.shape))
    return given.detach().to(device=x.device, dtype=x.dtype)


def given_players(players: Any, x: torch.Tensor) -> torch.Tensor:
    """Integers that name the player of each element: (1, *shape) for all rows, or (N, *shape)."""
    shape = tuple(x.shape[1:])
    if players is None:
        return torch.arange(math.prod(shape), device=x.device).view(1, *shape)
    named = players.of(x) if isinstance(players, PlayerMap) else _integers(players).to(x.device)
    of_rows = named.dim() == x.dim() and len(named) == len(x)
    try:
        named = named.expand(len(x) if of_rows else 1, *shape)
    except RuntimeError:
        rule = f"must broadcast to the shape of a row, {shape}, or of all rows"
        raise InvalidInput("players", rule, tuple(named.shape)) from None
    # Of no rows with players of their own nobody knows how many these are.
    return named if len(named) else named.new_zeros(1, *shape)


def _integers(players: Any) -> torch.Tensor:
    if isinstance(players, torch.Tensor):
        whole = not (players.dtype.is_floating_point or players.dtype.is_complex or players.dtype == torch.bool)
    else:
        try:
            players = np.asarray(players)
        except ValueError:
            rule = "must hold integers that name the player of each element"
            raise InvalidInput("players", rule, "rows of different lengths") from None
        whole = players.dtype.kind in "iu"
    if not whole:
        raise InvalidInput("players", "must hold integers that name the player of each element", players.dtype)
    return torch.as_tensor(players).to(torch.int64)


def _real(baselines: Any) -> np.ndarray:
    if np.ma.isMaskedArray(baselines) or np.iscomplexobj(baselines):
        raise TypeError("masked or complex")
    return np.array(baselines, dtype=float)
