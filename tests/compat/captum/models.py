"""Small networks as Captum needs them: every ReLU a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.registry import settle


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.relu1 = nn.Linear(7, 11), nn.ReLU()
        self.linear2, self.relu2 = nn.Linear(11, 9), nn.ReLU()
        self.linear3 = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear3(self.relu2(self.linear2(self.relu1(self.linear1(x)))))


class CNN(nn.Module):
    """Batch norm, an in-place ReLU, two kinds of pool."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.flatten, self.linear1, self.relu3, self.linear2 = (
            nn.Flatten(),
            nn.Linear(32, 10),
            nn.ReLU(),
            nn.Linear(10, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.linear2(self.relu3(self.linear1(self.flatten(x))))


class FunctionalCNN(CNN):
    """The same network, its ReLUs functions."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = F.adaptive_avg_pool2d(torch.relu(self.conv2(x)), 2)
        return self.linear2(self.linear1(x.flatten(1)).clamp(min=0))


class Convolutions1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool = nn.Conv1d(2, 5, 3), nn.ReLU(), nn.MaxPool1d(2)
        self.conv2, self.relu2, self.flatten, self.linear = (
            nn.Conv1d(5, 4, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.pool(self.relu1(self.conv1(x)))))
        return self.linear(self.flatten(x))


class Convolutions3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool = nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)
        self.flatten, self.linear = nn.Flatten(), nn.Linear(4 * 12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.flatten(self.pool(self.relu1(self.conv1(x)))))


class TwoInputs(nn.Module):
    """An image and a vector; further arguments: a mask or factor for each row, indices, a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu1, self.pool = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.linear1, self.relu2 = nn.Linear(9, 6), nn.ReLU()
        self.embedding, self.head = nn.Embedding(5, 6), nn.Linear(6, 4)

    def forward(
        self,
        image: Tensor,
        vector: Tensor,
        factor: Tensor | None = None,
        index: Tensor | None = None,
        power: float = 1.0,
    ) -> Tensor:
        x = self.pool(self.relu1(self.conv(image))).flatten(1)
        x = self.relu2(self.linear1(torch.cat([x, vector], 1)))
        x = x if index is None else x + self.embedding(index)
        x = self.head(x)
        return power * (x if factor is None else x * factor.unsqueeze(1))


class Maps(nn.Module):
    """Outputs (N, 3, 5): targets are tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.relu, self.linear2 = nn.Linear(7, 10), nn.ReLU(), nn.Linear(10, 15)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.relu(self.linear1(x))).unflatten(1, (3, 5))


class Regression(MLP):
    """Outputs (N,): no target."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


# name: (model, shapes of a row of its inputs)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "mlp": (MLP, ((7,),)),
    "cnn": (CNN, ((3, 11, 9),)),
    "conv1d": (Convolutions1d, ((2, 14),)),
    "conv3d": (Convolutions3d, ((1, 4, 6, 5),)),
    "two_inputs": (TwoInputs, ((2, 6, 5), (5,))),
}


def built(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model with parameters and statistics from a seed, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
    return settle(model, 0).to(dtype).eval()


def rows(shapes: tuple[tuple[int, ...], ...], count: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Signed inputs from a seed."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(count, *shape, generator=generator, dtype=dtype) for shape in shapes)


shared = cache(built)  # the same model for every test, so that it is captured once: nobody changes it


def case(name: str, count: int = 3, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A shared model of `MODELS`, and inputs for it, a tuple."""
    make, shapes = MODELS[name]
    return shared(make, dtype), rows(shapes, count, dtype)
