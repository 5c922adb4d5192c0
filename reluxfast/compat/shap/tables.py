"""Tables of rows to explain and of background, whatever holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reluxfast.compat.shap.errors import NotOffered, WrongType, wrong_dimensions
from reluxfast.errors import InvalidInput


@dataclass(frozen=True)
class Table:
    """Rows of features.

    Attributes:
        rows: (N, d), numbers as they were given.
        columns: names, of a DataFrame.
        weights: (N,) float64 that sum to 1, or None: rows count alike.
    """

    rows: np.ndarray | torch.Tensor
    columns: list | None = None
    weights: np.ndarray | None = None

    @property
    def numbers(self) -> np.ndarray:
        """(N, d) float64, on the host."""
        return np.asarray(self.data, dtype=np.float64)

    @property
    def data(self) -> np.ndarray:
        """(N, d) as given, on the host."""
        if not isinstance(self.rows, torch.Tensor):
            return self.rows
        # numpy has no bfloat16.
        return (self.rows.float() if self.rows.dtype == torch.bfloat16 else self.rows).cpu().numpy()


def table(given: Any, argument: str) -> Table:
    """A table from an array, a DataFrame or a Tensor.

    Raises:
        NotOffered: a sparse matrix.
        InvalidInput: it holds no numbers, or not in rows of features.
    """
    if hasattr(given, "tocsr"):
        raise NotOffered(argument, "must be dense", type(given).__name__, "Convert it with .toarray()")
    columns = list(given.columns) if is_frame(given) else None
    if isinstance(given, torch.Tensor):
        rows = given.detach()
        numeric = not rows.is_complex()
    else:
        try:
            rows = np.asarray(given)
        except ValueError:
            raise InvalidInput(argument, "must have as many numbers in each row", type(given).__name__) from None
        if rows.dtype == object and columns is not None:
            rows = _numbers(rows, argument)
        numeric = rows.dtype.kind in "fiub"
    if not numeric:
        raise WrongType(argument, "must hold numbers", f"{type(given).__name__} of {rows.dtype}")
    if rows.ndim != 2:
        raise wrong_dimensions(argument, "must have rows of features (N, d)", f"shape {tuple(rows.shape)}")
    return Table(rows, columns)


def background(masker: Any, argument: str = "masker") -> Table:
    """What stands for absent features: a set of rows, or a masker that holds one.

    Raises:
        NotOffered: a masker of another kind.
        InvalidInput: it is None, empty, or holds no numbers.
    """
    if masker is None:
        raise WrongType(argument, "cannot be None", None, "Pass the background rows")
    kinds = _kinds(masker)
    if "Independent" in kinds:
        held = table(masker.data, argument)
        names = getattr(masker, "feature_names", None)
        found = Table(held.rows, None if names is None else list(names))
    elif "DenseData" in kinds:
        found = _summary(masker, argument)
    elif callable(masker) or "Masker" in kinds:
        rule = "must be background rows or a masker of the Independent kind"
        raise NotOffered(argument, rule, type(masker).__name__, "Use shap's own explainer for it")
    else:
        found = table(masker, argument)
    if not len(found.rows):
        raise InvalidInput(argument, "must have rows", f"shape {tuple(found.rows.shape)}")
    return found


def serves(masker: Any) -> bool:
    """Whether `background` takes it, as far as its type tells."""
    if {"Independent", "DenseData"} & _kinds(masker) or is_frame(masker):
        return True
    return isinstance(masker, (np.ndarray, torch.Tensor, list))


def is_frame(given: Any) -> bool:
    """Whether it is a DataFrame, of pandas or of something like it."""
    return hasattr(given, "columns") and hasattr(given, "to_numpy")


def _kinds(masker: Any) -> set[str]:
    return {c.__name__ for c in type(masker).__mro__}


def _summary(given: Any, argument: str) -> Table:
    """Rows with weights, as `shap.kmeans` makes them."""
    if given.transposed or any(len(group) != 1 for group in given.groups):
        raise NotOffered(argument, "must have a feature in each column", "features in groups, or in rows")
    weights = np.asarray(given.weights, dtype=np.float64)
    found = table(given.data, argument)
    return Table(found.rows, None, None if (weights == weights[0]).all() else weights / weights.sum())


def _numbers(rows: np.ndarray, argument: str) -> np.ndarray:
    try:
        return rows.astype(np.float64)
    except (TypeError, ValueError):
        raise WrongType(argument, "must hold numbers", "a DataFrame with other columns", "Encode them") from None
