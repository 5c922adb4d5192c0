"""Linear models that Lime and KernelShap fit where the user gives none."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from reluxfast.extras import need

# Singular values below, relative to the largest, are rounding: weights of 10⁶ leave others above 1e-5.
_NOTHING = 1e-10


class _Linear:
    """A linear model y = w·z + b, fitted to weighted samples, with the two methods that Captum asks of one."""

    def __init__(self) -> None:
        self._weights = self._bias = None

    def fit(self, train_data: Iterable[tuple[torch.Tensor, ...]]) -> None:
        """Fits the model anew.

        Args:
            train_data: batches of z (S, n), y (S,) and weights (S,).
        """
        z, y, weights = (torch.cat(parts) for parts in zip(*train_data, strict=True))
        found, bias = self._solved(z.cpu().numpy(), y.cpu().numpy(), weights.cpu().numpy())
        self._weights = torch.from_numpy(np.asarray(found)).to(y.dtype).reshape(1, -1)
        self._bias = torch.tensor([float(bias)], dtype=y.dtype, device="cpu")

    def representation(self) -> torch.Tensor:
        """(1, n) the weights."""
        return self._weights

    def bias(self) -> torch.Tensor:
        """(1,) the intercept."""
        return self._bias

    def _solved(self, z: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
        raise NotImplementedError


class LeastSquares(_Linear):
    """Least squares in float64; the solution of least norm where samples leave several."""

    def _solved(self, z: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
        z, y, weights = (v.astype(np.float64) for v in (z, y, weights))
        share = weights / weights.sum()
        middle, mean = share @ z, share @ y
        root = np.sqrt(weights)
        found = np.linalg.lstsq((z - middle) * root[:, None], (y - mean) * root, rcond=_NOTHING)[0]
        return found, mean - middle @ found


class Lasso(_Linear):
    """Least squares with a penalty on the absolute weights, by scikit-learn.

    Args:
        alpha: of the penalty.

    Raises:
        MissingExtra: at `fit`, where scikit-learn is not installed.
    """

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def _solved(self, z: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
        purpose = "Lime without an interpretable_model"
        model = need("sklearn.linear_model", "scikit-learn", "demo", purpose).Lasso(alpha=self.alpha)
        model.fit(z, y, sample_weight=weights)
        return model.coef_, model.intercept_
