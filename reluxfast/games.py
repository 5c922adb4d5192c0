"""Coalition methods on whatever has outputs: a model, an Explainer, or any function of a batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from reluxfast import ops
from reluxfast.attribution import Attribution
from reluxfast.captured import Captured, captured
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.models import FunctionModel, RowOrder
from reluxfast.coalitions.players import Players
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.methods import COALITION_METHODS
from reluxfast.methods.inputs import as_tuple, check_like
from reluxfast.methods.numbers import positive
from reluxfast.methods.targets import flat_targets

# Options of every coalition method, beside its own.
COMMON = ("baselines", "players", "batch_size", "memory_budget")


@dataclass
class _Rows:
    """What is explained: (N, *shape), with the order in which its elements are computed."""

    x: torch.Tensor
    order: RowOrder
    as_array: bool


def explain_function(f: Any, x: Any, target: Any, method: str, options: dict[str, Any]) -> Attribution:
    """A coalition method on a function of a batch, a module, an exported program or an Explainer.

    Raises:
        InvalidInput: an argument breaks a rule.
        UnsupportedNode: a module cannot be captured.
        ReluxfastError: the function's outputs are not finite.
    """
    if hasattr(f, "captured") and isinstance(f.captured, Captured):
        return f.attribute(x, target, method, **options)
    if isinstance(f, (nn.Module, torch.export.ExportedProgram)):
        return explain_captured(captured(f, _one_tensor(x)), x, target, method, options)
    if not callable(f):
        raise InvalidInput("f", "must be a module, an Explainer or a function of a batch", type(f).__name__)
    rows = _given(x)
    return _explain(FunctionModel(f, rows.order, rows.as_array), rows, "function", 0, target, method, options)


def explain_captured(known: Captured, x: Any, target: Any, method: str, options: dict[str, Any]) -> Attribution:
    """A coalition method on a captured model."""
    inputs = _one_tensor(x)
    check_like(inputs, known.examples)
    engine = known.engine()
    native = ops.active_backend() != "reference"
    rows = _Rows(inputs[0], RowOrder(tuple(inputs[0].shape[1:]), inputs[0].dim() in (4, 5)), False)
    model = FunctionModel(lambda batch: engine.outputs([batch.to(engine.dtype)], native), rows.order, False)
    return _explain(model, rows, "engine", known.memory_budget, target, method, options)


def _one_tensor(x: Any) -> tuple[torch.Tensor]:
    if isinstance(x, tuple):
        raise InvalidInput("x", "must be one Tensor for coalition methods", f"a tuple of {len(x)}", "Wrap the model")
    return as_tuple(x)


def _given(x: Any) -> _Rows:
    as_array = not isinstance(x, torch.Tensor)
    if as_array:
        array = np.asarray(x)
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            raise InvalidInput("x", "must hold numbers (N, ...)", f"{type(x).__name__} of {array.dtype}")
        x = torch.from_numpy(np.array(array, dtype=array.dtype if array.dtype in (np.float32,) else np.float64))
    else:
        x = _one_tensor(x)[0].detach()
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return _Rows(x, RowOrder(tuple(x.shape[1:]), last), as_array)


def _explain(
    model: FunctionModel, rows: _Rows, path: str, budget: int | None, target: Any, method: str, options: dict[str, Any]
) -> Attribution:
    function = COALITION_METHODS[method]
    own = {name: value for name, value in options.items() if name not in COMMON}
    _check_options(method, function, own)
    positive("batch_size", options.get("batch_size"))
    positive("memory_budget", options.get("memory_budget"))
    x = rows.x.detach()
    background = _background(options.get("baselines"), x)
    named, each = _labels(options.get("players"), x, rows.order)
    request = GameRequest(
        model,
        rows.order,
        rows.order.rows(x).contiguous(),
        rows.order.rows(background).contiguous(),
        Players.of(named),
        0,
        lambda: _choice(target, model.inner, len(x)),
        2 * math.prod(x.shape[1:]) * x.element_size(),
        options.get("batch_size"),
        options.get("memory_budget") or budget or None,
        path,
    )
    estimate = function(request, **own)
    return _result(request, estimate, rows, each, model.inner, target, method, options)


def _check_options(method: str, function: Callable, options: dict[str, Any]) -> None:
    names = list(inspect.signature(function).parameters)[1:]
    for name in options:
        if name not in names:
            raise InvalidInput("options", f"of {method} are: {', '.join((*COMMON, *names))}", repr(name))


def _choice(target: Any, inner: tuple[int, ...], rows: int) -> torch.Tensor | None:
    """(N,) explained output of each row, None for all of them."""
    if target is None or (isinstance(target, str) and target == "all"):
        return None
    return flat_targets(target, (None, *inner), rows)


def _background(baselines: Any, x: torch.Tensor) -> torch.Tensor:
    shape = tuple(x.shape[1:])
    if baselines is None:
        return x.new_zeros(1, *shape)
    given = baselines if isinstance(baselines, torch.Tensor) else torch.from_numpy(np.array(baselines, dtype=float))
    if tuple(given.shape) == shape and given.dim() < x.dim():
        given = given.unsqueeze(0)
    if tuple(given.shape[1:]) != shape or given.dim() != x.dim() or not len(given):
        rule = f"must be one row {shape} or a set of rows (B, {', '.join(map(str, shape))})"
        raise InvalidInput("baselines", rule, tuple(given.shape))
    return given.detach().to(device=x.device, dtype=x.dtype)


def _labels(players: Any, x: torch.Tensor, order: RowOrder) -> tuple[torch.Tensor, bool]:
    """(d,) names of the players of each element in the order of computation, and whether each element is a player."""
    shape = tuple(x.shape[1:])
    if players is None:
        return order.rows(torch.arange(math.prod(shape), device=x.device).view(1, *shape))[0], True
    named = players if isinstance(players, torch.Tensor) else torch.as_tensor(np.asarray(players))
    if named.dtype.is_floating_point or named.is_complex() or named.dtype == torch.bool:
        raise InvalidInput("players", "must hold integers that name the player of each element", named.dtype)
    try:
        named = named.to(x.device).expand(shape)
    except RuntimeError:
        raise InvalidInput("players", f"must broadcast to the shape of a row, {shape}", tuple(named.shape)) from None
    return order.rows(named.unsqueeze(0))[0], False


def _result(
    request: GameRequest,
    estimate: Estimate,
    rows: _Rows,
    each: bool,
    inner: tuple[int, ...],
    target: Any,
    method: str,
    options: dict[str, Any],
) -> Attribution:
    game, x = request.made, rows.x
    outputs = () if game.chosen is not None or (target is None and math.prod(inner) == 1) else inner

    def shaped(values: torch.Tensor | None) -> torch.Tensor | None:
        if values is None:
            return None
        # Players that are elements are named after them, in the order that a user sees.
        shape = x.shape[1:] if each or estimate.of_elements else (request.players.count,)
        return values.transpose(1, 2).reshape(len(x), *outputs, *shape).to(x.dtype).contiguous()

    counted = estimate.n_evaluations.unique()
    function = COALITION_METHODS[method]
    defaults = {p.name: p.default for p in list(inspect.signature(function).parameters.values())[1:]}
    facts = {"path": request.path, "batch_size": game.tile, **estimate.facts}
    return Attribution(
        values=shaped(estimate.values),
        output=game.output.to(x.dtype).reshape(len(x), *inner),
        target=target,
        method=method,
        options={**defaults, **dict.fromkeys(COMMON), **options, **facts},
        base_value=game.base.to(x.dtype).reshape(len(x), *outputs),
        standard_error=shaped(estimate.standard_error),
        n_evaluations=int(counted[0]) if len(counted) == 1 else estimate.n_evaluations,
    )
