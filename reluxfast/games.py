"""Coalition methods on whatever has outputs: a model, an Explainer, or any function of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reluxfast.attribution import Attribution
from reluxfast.captured import Captured, captured
from reluxfast.coalitions.estimate import Estimate, joined, laid_out, one_or_each, unknown
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.mlp import Perceptron
from reluxfast.coalitions.models import FunctionModel
from reluxfast.coalitions.players import Players
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.game_inputs import Rows, given_background, given_players, given_rows, one_tensor
from reluxfast.methods import COALITION_METHODS, ELEMENT_METHODS
from reluxfast.methods.inputs import check_like
from reluxfast.methods.numbers import positive
from reluxfast.methods.options import check_options, defaults
from reluxfast.methods.targets import flat_targets
from reluxfast.progress import PartsBar
from reluxfast.sklearn_models import is_estimator, perceptron_of
from reluxfast.sources import Source, captured_source, perceptron_source

# Options of every coalition method, beside its own.
COMMON = ("baselines", "players", "batch_size", "memory_budget")


def explain_function(
    f: Any, x: Any, target: Any, method: str, options: dict[str, Any], padded: bool = True
) -> Attribution:
    """A coalition method on a function of a batch, a module, an exported program, an Explainer or a scikit-learn MLP.

    Args:
        f, x, target: as in `reluxfast.functions`.
        method: one of `COALITION_METHODS`.
        options: of it, and those of all.
        padded: whether calls of a function are filled up to one size; see `FunctionModel`.

    Raises:
        InvalidInput: an argument breaks a rule.
        UnsupportedNode: a module cannot be captured.
        ReluxfastError: the function's outputs are not finite.
    """
    if isinstance(getattr(f, "captured", None), Captured):
        return f.attribute(x, target, method, **options)
    if isinstance(f, (nn.Module, torch.export.ExportedProgram)):
        return explain_captured(captured(f, one_tensor(x)), x, target, method, options)
    if callable(f) and not isinstance(f, type):
        rows = given_rows(x)
        source = Source(FunctionModel(f, rows.order, rows.as_array, padded), "function")
        return _explain(source, rows, target, method, options)
    if is_estimator(f):
        return _explain_perceptron(perceptron_of(f), given_rows(x), target, method, options)
    rule = "must be a module, an Explainer, a fitted scikit-learn MLP or a function of a batch"
    shown = f"the class {f.__name__}" if isinstance(f, type) else type(f).__name__
    raise InvalidInput("f", rule, shown)


def explain_captured(known: Captured, x: Any, target: Any, method: str, options: dict[str, Any]) -> Attribution:
    """A coalition method on a captured model."""
    inputs = one_tensor(x)
    check_like(inputs, known.examples)
    order = known.row_order()
    return _explain(captured_source(known, order), Rows(inputs[0].detach(), order, False), target, method, options)


def _explain_perceptron(
    layers: Perceptron, rows: Rows, target: Any, method: str, options: dict[str, Any]
) -> Attribution:
    """A coalition method on a network that is known by its weights, computed in the dtype of x if it can be."""
    width = layers.weights[0].shape[1]
    if rows.order.shape != (width,):
        raise InvalidInput("x", f"must have shape (N, {width}), as the network was fitted", tuple(rows.x.shape))
    return _explain(perceptron_source(layers, rows.x, rows.order), rows, target, method, options)


def _explain(source: Source, rows: Rows, target: Any, method: str, options: dict[str, Any]) -> Attribution:
    function = COALITION_METHODS[method]
    own = {name: value for name, value in options.items() if name not in COMMON}
    check_options(method, function, own, COMMON)
    if method in ELEMENT_METHODS and options.get("players") is not None:
        rule = f"have no meaning for {method}, which answers for each element"
        raise InvalidInput("players", rule, type(options["players"]).__name__, "Leave them out")
    positive("batch_size", options.get("batch_size"))
    positive("memory_budget", options.get("memory_budget"))
    x, order = rows.x, rows.order
    if not math.prod(order.shape):
        raise InvalidInput("x", "must have elements in its rows", tuple(x.shape))
    background = order.rows(given_background(options.get("baselines"), x)).contiguous()
    named = given_players(options.get("players"), x)
    made = Players.each if options.get("players") is None else Players.of
    players = [made(order.rows(names.unsqueeze(0))[0]) for names in named]
    most_players = max(each.count for each in players)
    if len(named) > 1 and options.get("first_pair") is not None:
        rule = "has no meaning where rows have players of their own"
        raise InvalidInput("first_pair", rule, options["first_pair"], "Split the rows over processes")
    flat = order.rows(x).contiguous()
    # Rows with players of their own are games of their own.
    width = len(x) if len(named) == 1 else 1
    requests = []
    for number, own_players in enumerate(players):
        start, stop = number * width, (number + 1) * width
        request = GameRequest(
            source.model,
            order,
            flat[start:stop],
            background,
            own_players,
            most_players,
            start,
            lambda start=start, stop=stop: _choice(target, source.model.inner, len(x), start, stop),
            2 * math.prod(order.shape) * x.element_size(),
            options.get("batch_size"),
            options.get("memory_budget") or source.memory_budget,
            source.path,
            source.ways,
        )
        requests.append(request)
    estimate = joined(_estimates(requests, lambda request: function(request, **own), method))
    games = [request.made for request in requests if request.made is not None]
    facts = {} if options.get("players") is None else {"players": named}
    return _result(games, estimate, rows, source.model.inner, target, method, {**options, **facts})


def _estimates(requests: list[GameRequest], estimate: Callable[[GameRequest], Estimate], method: str) -> list[Estimate]:
    """What is found for one request after the other; NaN for those that an interrupt kept from being begun."""
    found: list[Estimate] = []
    with PartsBar(len(requests), desc=method, unit="row") as bar:
        for request in requests:
            request.bars = bar.part
            try:
                found.append(estimate(request))
            except KeyboardInterrupt:
                # Before its sampling began: what was found for the others stays, where sampling can be interrupted.
                if not found or "interrupted" not in found[0].facts:
                    raise
                break
            if found[-1].facts.get("interrupted"):
                break
            bar.done(len(found))
    return found + [unknown(request.players.count, found[0]) for request in requests[len(found) :]]


def _choice(target: Any, inner: tuple[int, ...], rows: int, start: int, stop: int) -> torch.Tensor | None:
    """Explained output of each of the rows start .. stop - 1, None for all of them."""
    if target is None or (isinstance(target, str) and target == "all"):
        return None
    return flat_targets(target, (None, *inner), rows)[start:stop]


def _result(
    games: list[Game],
    estimate: Estimate,
    rows: Rows,
    inner: tuple[int, ...],
    target: Any,
    method: str,
    options: dict[str, Any],
) -> Attribution:
    x = rows.x
    single = games[0].chosen is not None or (target is None and math.prod(inner) == 1)
    outputs = () if single else inner
    whole = options.get("players") is None

    def shaped(values: torch.Tensor | None) -> torch.Tensor | None:
        if values is None:
            return None
        # Players that are elements are named after them, in the order that a user sees.
        shape = x.shape[1:] if whole else values.shape[1:2]
        return laid_out(values, (len(x), *outputs, *shape), x.dtype)

    return Attribution(
        values=shaped(estimate.values),
        output=_of_rows(x, [game.output for game in games]).reshape(len(x), *inner),
        target=target,
        method=method,
        options={
            **defaults(COALITION_METHODS[method]),
            **dict.fromkeys(COMMON),
            **options,
            "batch_size": games[0].tile,
            **estimate.facts,
        },
        base_value=_of_rows(x, [game.base for game in games]).reshape(len(x), *outputs),
        standard_error=shaped(estimate.standard_error),
        n_evaluations=one_or_each(estimate.n_evaluations),
        inputs=x,
        samples=estimate.samples,
    )


def _of_rows(x: torch.Tensor, found: list[torch.Tensor]) -> torch.Tensor:
    """What games found (R, K) in x's dtype, NaN for rows that none was made for."""
    known = torch.cat(found).to(x.dtype)
    return torch.cat([known, known.new_full((len(x) - len(known), known.shape[1]), math.nan)])
