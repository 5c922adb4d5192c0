"""Functions, rows and comparisons that tests of shap's facade share; importing it needs shap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

numba = pytest.importorskip("numba", reason="shap's numba is not installed: nothing is compared with shap")
_compiled, numba.config.DISABLE_JIT = (
    numba.config.DISABLE_JIT,
    True,
)  # compiling takes longer than what it speeds up here
shap = pytest.importorskip("shap", reason="shap is not installed: nothing is compared with it")
numba.config.DISABLE_JIT = _compiled
student = pytest.importorskip("scipy.stats", reason="shap's scipy is not installed: nothing is compared with shap").t

D, BACKGROUND = 6, 7


def rows(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    """Standard normal rows (n, d), float64."""
    return np.random.default_rng(seed).normal(size=(n, d))


def layer(d: int = D, outputs: int = 3) -> np.ndarray:
    """Weights of `vector`."""
    return np.random.default_rng(5).normal(size=(d, outputs))


def vector(x: np.ndarray) -> np.ndarray:
    """(M, 3), with interactions of every order."""
    return np.maximum(x @ layer(x.shape[1]), 0) * (1 + 0.3 * np.tanh(x[:, :1]))


def scalar(x: np.ndarray) -> np.ndarray:
    """(M,)."""
    return vector(x).sum(1)


def column(x: np.ndarray) -> np.ndarray:
    """(M, 1)."""
    return scalar(x)[:, None]


def quadratic(x: np.ndarray) -> np.ndarray:
    """(M, 2) with interactions of two features at most."""
    return np.stack([x[:, 0] * x[:, 1] + x[:, 2] ** 2 - x[:, 5], (x @ layer(x.shape[1]))[:, 0] * x[:, 3]], 1)


def probabilities(x: np.ndarray) -> np.ndarray:
    """(M, 3) between 0 and 1."""
    return 1 / (1 + np.exp(-vector(x) + 1))


def settled(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network in eval mode with weights of a seed, and batch norms that are no identities."""
    torch.manual_seed(seed)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def perceptron(d: int = D, outputs: int = 3) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, outputs))


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """Same shape, same dtype, and no deviation beyond `tolerance` of the largest value."""
    assert isinstance(ours, np.ndarray) and ours.dtype == theirs.dtype and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= tolerance * max(np.abs(theirs).max(initial=0), 1e-12)


def within_errors(ours: np.ndarray, errors: np.ndarray, expected: np.ndarray, samples: int) -> None:
    """No deviation beyond the t quantile that 1 in 1000 sets of as many comparisons exceeds; errors are not idle."""
    z = np.abs(ours - expected) / (errors + 1e-12 * np.abs(expected).max())
    assert 0.3 < z.max() < student.ppf(1 - 0.001 / (2 * z.size), samples - 1)
