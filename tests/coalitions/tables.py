"""Real tables and networks trained on them: read and trained on the CPU, then moved to the device of the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from tests.coalitions.support import on_device
from tests.device import DEVICE


def standardised(x: Tensor) -> Tensor:
    """Columns of mean 0 and variance 1, so that a baseline of zeros is the mean row."""
    return (x - x.mean(0)) / x.std(0)


def breast_cancer() -> tuple[Tensor, Tensor]:
    """Standardised rows (569, 30) float32, and classes int64: 0 malignant, 1 benign."""
    data = load_breast_cancer()
    return standardised(torch.from_numpy(data.data)).float().to(DEVICE), torch.from_numpy(data.target).to(DEVICE)


def products(x: Tensor, count: int) -> Tensor:
    """`count` standardised features: columns of x, and products of two of them."""
    pairs = torch.combinations(torch.arange(x.shape[1]), 2, with_replacement=True)
    return standardised(torch.cat([x, x[:, pairs[:, 0]] * x[:, pairs[:, 1]]], 1)[:, :count])


def trained(x: Tensor, y: Tensor, *widths: int, epochs: int = 40) -> nn.Sequential:
    """A classifier x.shape[1]-*widths with ReLUs, which tells at least 95 % of its own rows apart."""
    return on_device(_trained, x.cpu(), y.cpu(), widths, epochs)


def _trained(x: Tensor, y: Tensor, widths: tuple[int, ...], epochs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((x.shape[1], *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for some in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[some]), y[some]).backward()
            optimizer.step()
    assert float((model(x).argmax(1) == y).double().mean()) > 0.95
    return model
