"""Games behind a link or with a weighted background, whose values are no plain means: the engine is given masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from reluxfast.compat.shap.answer import Answer, Options, uninterrupted
from reluxfast.compat.shap.links import Link, linearizing_weights
from reluxfast.compat.shap.models import Model
from reluxfast.compat.shap.tables import Table
from reluxfast.games import explain_function
from reluxfast.progress import progress_bar, silence

# Bytes of masked rows in one call of the model.
_CALL_BYTES = 32 << 20
# (T, B, ...) outputs -> (T, ...)
Combine = Callable[[np.ndarray], np.ndarray]


def by_masks(
    model: Model,
    background: Table,
    link: Link,
    linearize: bool,
    method: str,
    options: Options,
    x: Table,
    varying: np.ndarray,
    batch_size: int | None,
) -> Answer:
    """Explains each row as a function of which of its varying features are present; draws are those of every row."""
    rows, back = x.numbers, background.numbers
    empty = model.outputs(back)
    combine = _combination(empty, background.weights, link, linearize)
    inner = model.inner(empty.shape)
    outputs = math.prod(inner)
    values, base = np.zeros((*rows.shape, outputs)), np.zeros((len(rows), outputs))
    base[:] = combine(empty[None]).reshape(outputs)
    errors: np.ndarray | None = None
    most = max(1, (batch_size or _CALL_BYTES // back.nbytes) // len(back))
    for r in progress_bar(range(len(rows)), desc=method, unit="row"):
        members = varying[r]
        count = int(members.sum())
        if not count:
            continue
        own = options(count, 1)
        tile = max(1, min(most, own["n_evaluations"]))
        present = np.ones((1, count))
        chosen = {"baselines": 0 * present, "batch_size": tile, **own}
        function = partial(_value, model, combine, back, empty, rows[r], members)
        with silence():
            result = uninterrupted(explain_function(function, present, None, method, chosen, padded=False))
        values[r, members] = result.values.numpy().reshape(outputs, count).T
        if result.standard_error is not None:
            errors = np.zeros_like(values) if errors is None else errors
            errors[r, members] = result.standard_error.numpy().reshape(outputs, count).T
    return Answer(values, base, errors, inner)


def _combination(empty: np.ndarray, weights: np.ndarray | None, link: Link, linearize: bool) -> Combine:
    """How outputs of a masked row with every background row become one value: link(mean), or a mean of links."""
    if weights is None:
        weights = np.full(len(empty), 1 / len(empty))
    if not linearize:
        return lambda outputs: link(np.einsum("b,tb...->t...", weights, outputs))
    each = (weights * linearizing_weights(empty, link).T).T
    return lambda outputs: np.einsum("b...,tb...->t...", each, link(outputs))


def _value(
    model: Model,
    combine: Combine,
    background: np.ndarray,
    empty: np.ndarray,
    row: np.ndarray,
    members: np.ndarray,
    masks: np.ndarray,
) -> np.ndarray:
    """v(S) (T, ...) of masks (T, n) over the members of a row; outputs (B, ...) of the background are known."""
    outputs = np.repeat(empty[None], len(masks), 0)
    some = masks.any(1)
    masked = np.repeat(background[None], int(some.sum()), 0)
    here = masks[some][:, None].astype(bool)
    masked[..., members] = np.where(here, row[members], background[:, members])
    if len(masked):
        outputs[some] = model.outputs(masked.reshape(-1, len(row))).reshape(len(masked), *empty.shape)
    return combine(outputs)
