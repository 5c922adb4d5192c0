"""Small networks and rows that tests of coalition methods share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.oracles.coalitions import from_module, value_table, value_tables


def network(d: int, outputs: int = 3, seed: int = 0, hidden: int = 16) -> nn.Sequential:
    """Two hidden ReLU layers with interactions of every order."""
    torch.manual_seed(seed)
    layers = [nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers).eval()


def rows(n: int, d: int, seed: int = 1) -> torch.Tensor:
    """Standard normal rows (n, d)."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def table(model: nn.Module, x: torch.Tensor, background: torch.Tensor, labels=None) -> np.ndarray:
    """(2^n, K) values of one row, by brute force in float64."""
    labels = np.arange(x.numel()).reshape(x.shape) if labels is None else np.asarray(labels)
    return value_table(from_module(model), x.numpy(), background.numpy(), labels, len(np.unique(labels)))


def tables(model: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """(B, 2^n, K) values of one row with each background row by itself."""
    return value_tables(from_module(model), x.numpy(), background.numpy(), np.arange(x.numel()), x.numel())


def close(found: torch.Tensor, expected: np.ndarray, relative: float) -> None:
    """Asserts that the largest deviation is below `relative` of the largest expected value."""
    expected = np.asarray(expected)
    assert tuple(found.shape) == expected.shape
    gap = np.abs(found.double().cpu().numpy() - expected).max()
    assert gap <= relative * np.abs(expected).max(), gap
