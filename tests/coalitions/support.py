"""Small networks and rows that tests of coalition methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from reluxfast import ops
from reluxfast.ops import native
from tests.device import DEVICE, KIND
from tests.oracles.coalitions import from_module, value_table, value_tables


def on_device(build: Callable[..., nn.Module], *args: Any, seed: int = 0, **options: Any) -> nn.Module:
    """A model in eval mode, its weights drawn on the CPU: the same on every device."""
    torch.manual_seed(seed)
    with torch.device("cpu"):
        return build(*args, **options).eval().to(DEVICE)


def network(d: int, outputs: int = 3, seed: int = 0, hidden: int = 16) -> nn.Sequential:
    """Two hidden ReLU layers with interactions of every order."""

    def layers() -> nn.Sequential:
        first, second, last = nn.Linear(d, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    return on_device(layers, seed=seed)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Standard normal numbers, drawn on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype, device="cpu").to(DEVICE)


def rows(n: int, d: int, seed: int = 1) -> torch.Tensor:
    """Standard normal rows (n, d)."""
    return normal(n, d, seed=seed)


def path_of_perceptron(dtype: torch.dtype, layers: int, elements: int) -> str:
    """How chains of a perceptron are walked: Triton's kernel does so in float32 and with a hidden layer alone."""
    others = KIND == "cpu" or (native.has_cuda() and ops.active_backend() != "triton")
    if others or (dtype == torch.float32 and layers > 1):
        return "mlp"
    # Below this many elements of a row no map is cut off.
    return "engine" if elements < 64 else "prefix"


def array(values: torch.Tensor) -> np.ndarray:
    """The values on the host."""
    return values.cpu().numpy()


def table(model: nn.Module, x: torch.Tensor, background: torch.Tensor, labels=None) -> np.ndarray:
    """(2^n, K) values of one row, by brute force in float64."""
    labels = np.arange(x.numel()).reshape(x.shape) if labels is None else np.asarray(labels)
    return value_table(from_module(model), array(x), array(background), labels, len(np.unique(labels)))


def tables(model: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """(B, 2^n, K) values of one row with each background row by itself."""
    return value_tables(from_module(model), array(x), array(background), np.arange(x.numel()), x.numel())


def close(found: torch.Tensor, expected: torch.Tensor | np.ndarray, relative: float) -> None:
    """Asserts that the largest deviation is below `relative` of the largest expected value."""
    expected = array(expected) if isinstance(expected, torch.Tensor) else np.asarray(expected)
    assert tuple(found.shape) == expected.shape
    gap = np.abs(found.double().cpu().numpy() - expected).max()
    assert gap <= relative * np.abs(expected).max(), gap
