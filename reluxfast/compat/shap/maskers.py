"""Maskers: what stands for absent features. Names that are not ours are those of shap itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from reluxfast.compat.shap.tables import table
from reluxfast.extras import need
from reluxfast.methods.numbers import positive

__all__ = ["Independent"]


class Independent:
    """Absent features take the values of background rows.

    Unlike shap's, it keeps every row unless told otherwise: shap cuts a background to 100 rows.

    Args:
        data: (B, d) array, DataFrame or Tensor of numbers.
        max_samples: rows to keep at most, those that shap keeps, in its order; None: all.

    Attributes:
        data: (B, d) array of the rows kept.
        shape: of data.
        feature_names: columns, where data is a DataFrame: the model is then given DataFrames.
    """

    def __init__(self, data: Any, max_samples: int | None = None):
        positive("max_samples", max_samples)
        given = table(data, "data")
        self.data = given.data
        if max_samples is not None and len(self.data) > max_samples:
            self.data = self.data[_shuffled(len(self.data))[:max_samples]]
        self.shape, self.max_samples = self.data.shape, max_samples
        if given.columns is not None:
            self.feature_names = given.columns


def _shuffled(count: int) -> np.ndarray:
    """Numbers of rows in the order in which shap.utils.sample draws them."""
    order = np.arange(count)
    np.random.RandomState(0).shuffle(order)
    return order


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(need("shap.maskers", "shap", "shap", f"maskers.{name}"), name)
