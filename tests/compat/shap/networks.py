"""Networks written with modules, as shap's DeepExplainer needs them, and as people write them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.compat.shap.support import perceptron, settled


class Image(nn.Module):
    """Convolution, batch norm and max pool."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.pool, self.flat, self.last = nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 2 * 2, 5)
        self.again, self.head = nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x):
        x = self.pool(self.relu(self.bn(self.conv(x))))
        return self.head(self.again(self.last(self.flat(x))))


class FunctionalImage(Image):
    """The same, with functions, and one ReLU for all."""

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.bn(self.conv(x))), 2)
        return self.head(F.relu(self.last(x.flatten(1))))


class ReusedImage(Image):
    """The same, with one ReLU module called twice."""

    def forward(self, x):
        x = self.pool(self.relu(self.bn(self.conv(x))))
        return self.head(self.relu(self.last(self.flat(x))))


class Series(nn.Module):
    """Convolutions along one dimension, with functions of each element that are no ReLUs."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv1d(2, 4, 3, padding=1), nn.Tanh(), nn.AvgPool1d(2), nn.Conv1d(4, 3, 2), nn.LeakyReLU()),
            *(nn.Flatten(), nn.Linear(9, 2), nn.Sigmoid()),
        )

    def forward(self, x):
        return self.net(x)


class Volume(nn.Module):
    """Convolution and pool in three dimensions."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(2, 2))

    def forward(self, x):
        return self.net(x)


class Two(nn.Module):
    """Two inputs."""

    def __init__(self):
        super().__init__()
        self.image, self.vector = nn.Linear(6, 5), nn.Linear(3, 5)
        self.flat, self.relu, self.head = nn.Flatten(), nn.ReLU(), nn.Linear(5, 2)

    def forward(self, x, y):
        return self.head(self.relu(self.image(self.flat(x)) + self.vector(y)))


# name: (model, shapes of a row of each input)
NETWORKS = {
    "perceptron": (perceptron, [(6,)]),
    "one_output": (lambda: perceptron(outputs=1), [(6,)]),
    "image": (Image, [(2, 6, 6)]),
    "series": (Series, [(2, 8)]),
    "volume": (Volume, [(1, 3, 3, 3)]),
    "two_inputs": (Two, [(2, 3), (3,)]),
}


def drawn(shapes: list[tuple[int, ...]], n: int, seed: int, dtype: torch.dtype = torch.float32):
    """Rows: a Tensor, or a list of them for several inputs."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(n, *shape, generator=generator).to(dtype) for shape in shapes]
    return found if len(found) > 1 else found[0]


def network(name: str, dtype: torch.dtype = torch.float32):
    """Model, rows and background."""
    make, shapes = NETWORKS[name]
    return settled(make).to(dtype), drawn(shapes, 3, 1, dtype), drawn(shapes, 5, 2, dtype)


def listed(found):
    """What belongs to the inputs, as a list."""
    return found if isinstance(found, list) else [found]
