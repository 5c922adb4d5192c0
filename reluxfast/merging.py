"""Sampled values of the same rows from several runs, as one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from reluxfast.attribution import Attribution
from reluxfast.coalitions.estimate import laid_out, one_or_each
from reluxfast.errors import InvalidInput

# What runs must share for their units to be draws of the same kind.
_SHARED = ("estimator", "design", "background_mode", "shared_orders")

# Options that say something of one run alone.
_OF_ONE_RUN = ("converged", "first_pair", "n_evaluations", "tolerance")


def merge(results: Sequence[Attribution]) -> Attribution:
    """Shapley values from all pairs of several runs on the same rows, as work is split over processes.

    States of pairs (count, mean, squared deviations) are joined in float64 (Chan, Golub and LeVeque 1979): values and
    errors are those of one run over all pairs, to rounding.

    Args:
        results: of `shapley` with `first_pair`, which draw different pairs (or have different seeds).

    Returns:
        The first result with values, standard errors, options["pairs"] and n_evaluations of all, without the options
        that say something of one run; it can be merged again.

    Raises:
        InvalidInput: results do not belong together, or share pairs.
    """
    if not isinstance(results, (list, tuple)):
        raise InvalidInput("results", "must be a list of results", type(results).__name__)
    parts = list(results)
    if not parts:
        raise InvalidInput("results", "must hold at least one result", "none")
    whole = None
    for number, part in enumerate(parts):
        name = f"results[{number}]"
        if not isinstance(part, Attribution) or part.samples is None:
            remedy = "Pass first_pair to shapley: the number of the first pair of that run"
            raise InvalidInput(name, "must be sampled Shapley values with their state", type(part).__name__, remedy)
        if whole is None:
            whole = part.samples
        else:
            _check_same(name, parts[0], part)
            if whole.shares_units(part.samples):
                remedy = "Give each run pairs, or a seed, of its own"
                raise InvalidInput(name, "must not share pairs with the results before it", part.samples.span, remedy)
            whole = whole.merged(part.samples)
    first = parts[0]
    form = first.values.shape, first.values.dtype
    units = "orders" if first.options["design"] == "plain" else "pairs"
    facts = {
        units: whole.moments.count,
        "interrupted": any(part.options["interrupted"] for part in parts),
        "seed": first.options["seed"] if len({part.options["seed"] for part in parts}) == 1 else None,
    }
    options = {name: value for name, value in first.options.items() if name not in _OF_ONE_RUN}
    return replace(
        first,
        values=laid_out(whole.values(), *form),
        standard_error=laid_out(whole.moments.standard_error, *form),
        n_evaluations=one_or_each(whole.n_evaluations),
        options={**options, **facts},
        samples=whole,
    )


def _check_same(name: str, first: Attribution, part: Attribution) -> None:
    for option in _SHARED:
        if part.options[option] != first.options[option]:
            rule = f"must have the {option} of the first, {first.options[option]!r}"
            raise InvalidInput(name, rule, repr(part.options[option]))
    if part.values.shape != first.values.shape:
        rule = f"must have values of the shape of the first's, {tuple(first.values.shape)}"
        raise InvalidInput(name, rule, tuple(part.values.shape))
    if not torch.equal(part.inputs, first.inputs):
        raise InvalidInput(name, "must explain the same rows as the first", "others")
    other = first.samples.differs(part.samples)
    if other is not None:
        raise InvalidInput(name, f"must have the {other} of the first", "others")
    # Rounding may differ from machine to machine.
    if not torch.allclose(part.output, first.output, rtol=0, atol=1e-4 * _largest(first.output)):
        raise InvalidInput(name, "must explain the same function as the first", "another, by its outputs")


def _largest(values: torch.Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
