"""Games behind a link or with a weighted background, whose values are no plain means: the engine is given masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from reluxfast.compat.shap.answer import Answer, Method, Options, uninterrupted
from reluxfast.compat.shap.links import Link, linearizing_weights
from reluxfast.compat.shap.models import Model
from reluxfast.compat.shap.tables import Table
from reluxfast.progress import progress_bar, silence

# Bytes of masked rows in one call of the model.
_CALL_BYTES = 32 << 20
# (T, B, K) outputs -> (T, K)
Combine = Callable[[np.ndarray], np.ndarray]


def by_masks(
    model: Model,
    background: Table,
    combine: Combine,
    method: Method,
    options: Options,
    x: Table,
    varying: np.ndarray,
    batch_size: int | None,
) -> Answer:
    """Explains each row as a function of which of its varying features are present; draws are those of every row."""
    rows, back = x.numbers, background.numbers
    inner = tuple(model.outputs(back[:1]).shape[1:])
    outputs = math.prod(inner)
    values, base = np.zeros((*rows.shape, outputs)), np.zeros((len(rows), outputs))
    errors: np.ndarray | None = None
    most = max(1, (batch_size or _CALL_BYTES // back.nbytes) // len(back))
    for r in progress_bar(range(len(rows)), desc=method.__name__, unit="row"):
        members = varying[r]
        count = int(members.sum())
        function = partial(_value, model, combine, back, rows[r], members)
        if not count:
            base[r] = function(np.zeros((1, 0)))[0]
            continue
        own = options(count, 1)
        tile = max(1, min(most, own["n_evaluations"]))
        present = np.ones((1, count))
        with silence():
            result = uninterrupted(method(function, present, 0 * present, batch_size=tile, **own))
        values[r, members] = result.values.numpy().reshape(outputs, count).T
        base[r] = result.base_value.numpy().reshape(outputs)
        if result.standard_error is not None:
            errors = np.zeros_like(values) if errors is None else errors
            errors[r, members] = result.standard_error.numpy().reshape(outputs, count).T
    return Answer(values, base, errors, inner)


def combination(model: Model, background: Table, link: Link, linearize: bool) -> Combine:
    """How outputs of a masked row with every background row become one value: link(mean), or a mean of links."""
    weights = background.weights
    if weights is None:
        weights = np.full(len(background.rows), 1 / len(background.rows))
    if not linearize:
        return lambda outputs: link(np.einsum("b,tbk->tk", weights, outputs))
    of_background = model.outputs(background.numbers).reshape(len(weights), -1)
    each = weights[:, None] * linearizing_weights(of_background, link)
    return lambda outputs: np.einsum("bk,tbk->tk", each, link(outputs))


def _value(
    model: Model, combine: Combine, background: np.ndarray, row: np.ndarray, members: np.ndarray, masks: np.ndarray
) -> np.ndarray:
    """v(S) (T, K) of masks (T, n) over the members of a row."""
    masked = np.repeat(background[None], len(masks), 0)
    here = masks[:, None].astype(bool)
    masked[..., members] = np.where(here, row[members], background[:, members])
    outputs = model.outputs(masked.reshape(-1, len(row)))
    return combine(outputs.reshape(len(masks), len(background), -1))
