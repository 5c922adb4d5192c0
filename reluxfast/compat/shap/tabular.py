"""What explainers of tables share: the model, the background, and how results are handed over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from reluxfast.compat.shap.answer import Answer
from reluxfast.compat.shap.auto import Explainer
from reluxfast.compat.shap.errors import NotOffered, WrongType
from reluxfast.compat.shap.game import TabularGame
from reluxfast.compat.shap.links import Link
from reluxfast.compat.shap.models import Model
from reluxfast.compat.shap.tables import Table, background, table
from reluxfast.errors import InvalidInput
from reluxfast.extras import need
from reluxfast.methods.numbers import flag, positive
from reluxfast.progress import silence


class TabularExplainer(Explainer):
    """A model, a masker and a link.

    Attributes:
        model, masker, link, linearize_link, feature_names, output_names: as given.
    """

    def __init__(
        self,
        model: Any,
        masker: Any,
        link: Link,
        feature_names: Sequence[str] | None,
        linearize_link: bool,
        output_names: Sequence[str] | None,
    ):
        held = background(masker)
        if not callable(link):
            raise WrongType("link", "must be callable", repr(link), "Pass shap.links.logit, or any function of outputs")
        flag("linearize_link", linearize_link)
        self.model, self.masker, self.link = model, masker, link
        self.feature_names, self.linearize_link = feature_names, linearize_link
        self.output_names = None if output_names is None else list(output_names)
        self._game = TabularGame(Model(model, held.columns), held, link, linearize_link)

    @property
    def expected_value(self) -> float | np.ndarray:
        """The explained output in the mean over the background: a float, or (K,) float64; evaluated anew each time."""
        return self._game.expected_value()

    def _answer(self, x: Table, **options: Any) -> Answer:
        raise NotImplementedError

    def _explanation(self, given: tuple, errors: bool, outputs: Any, silent: bool, **options: Any) -> Any:
        shap = need("shap", "shap", "shap", f"{type(self).__name__}(X)")
        began = time.time()
        x = one_table(given)
        with silence(silent):
            found = self._answer(x, **options)
        names = x.columns or self.feature_names or [f"Feature {i}" for i in range(x.rows.shape[1])]
        values, base, error = found.values, found.base, found.errors if errors else None
        labels = self.output_names
        if labels is not None and len(labels) != values.shape[-1]:
            rule = f"must name the {values.shape[-1]} outputs of the model"
            raise InvalidInput("output_names", rule, f"{len(labels)} names")
        if outputs is not None:
            chosen, labels = _chosen(outputs, labels or [f"Output {k}" for k in range(values.shape[-1])], found)
            values, base = np.take_along_axis(values, chosen[:, None], 2), np.take_along_axis(base, chosen, 1)
            error = None if error is None else np.take_along_axis(error, chosen[:, None], 2)
        elif values.shape[-1] == 1:
            # A single output has no dimension; base values keep the one that a function gave them, as in shap.
            kept = bool(found.inner) and self._game.model.is_function
            values, base = values[..., 0], base if kept else base[..., 0]
            error = None if error is None else error[..., 0]
        return shap.Explanation(
            values,
            base_values=base,
            data=x.data,
            feature_names=list(names),
            output_names=labels,
            error_std=error,
            compute_time=time.time() - began,
        )


def one_table(given: tuple) -> Table:
    """The one argument of a call, as a table."""
    if len(given) != 1:
        raise NotOffered("X", "must be one table of rows", f"{len(given)} arguments")
    return table(given[0], "X")


def rows_of_a_call(batch_size: Any) -> int | None:
    """shap's `batch_size` as the engine's: "auto" is None."""
    if isinstance(batch_size, str) and batch_size == "auto":
        return None
    positive("batch_size", batch_size)
    return batch_size


def refuse(argument: str, asked: bool, value: Any, neutral: Any, explainer: str) -> None:
    """Refuses what shap does and this adapter does not, if it is asked for.

    Raises:
        NotOffered: it is.
    """
    if asked:
        raise NotOffered(argument, f"must be {neutral!r}", repr(value), f"shap's own {explainer} has it")


def _chosen(outputs: Any, names: list[str], found: Answer) -> tuple[np.ndarray, Any]:
    """Numbers (N, k) of the outputs of each row that are chosen, and their names: one list if all rows agree."""
    rows, _, count = found.values.shape
    if hasattr(outputs, "apply"):
        explanation = need("shap", "shap", "shap", "A choice of outputs").Explanation
        of_rows = found.base + found.values.sum(1)
        each = [np.atleast_1d(outputs.apply(explanation(row)).values) for row in of_rows]
        if len({e.shape for e in each}) > 1:
            raise NotOffered("outputs", "must choose as many outputs of each row", repr(outputs))
        chosen = np.stack(each) if each else np.zeros((0, count), dtype=np.int64)
    else:
        chosen = np.atleast_1d(np.asarray(outputs))[None]
    if chosen.ndim != 2 or chosen.dtype.kind not in "iu" or not ((chosen >= -count) & (chosen < count)).all():
        raise InvalidInput("outputs", f"must be numbers of outputs below {count}", repr(outputs))
    chosen = chosen % count
    labels = np.array(names)[chosen]
    same = len(labels) == 1 or (labels == labels[:1]).all()
    return np.broadcast_to(chosen, (rows, chosen.shape[1])), list(labels[0]) if len(labels) and same else labels
