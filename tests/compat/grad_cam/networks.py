"""Small networks: a residual CNN in several spellings, one for volumes, one whose layers return tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5


class Net(nn.Module):
    """Convolutions, batch norm, max-pool, a residual add, dropout, mean; `relu` makes each activation."""

    def __init__(self, relu: Callable = nn.ReLU):
        super().__init__()
        self.conv1, self.bn, self.act1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), relu()
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.act2 = nn.Conv2d(8, 8, 3, padding=1), relu()
        self.conv3, self.act3 = nn.Conv2d(8, 7, 3), relu()
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Classes (N, 5)."""
        x = self.pool(self.act1(self.bn(self.conv1(x))))
        x = self.act2(self.conv2(x)) + x
        x = self.act3(self.conv3(x))
        return self.fc(self.drop(x.mean((2, 3))))


class Volumes(nn.Module):
    """Convolutions over volumes."""

    def __init__(self):
        super().__init__()
        self.conv1, self.act1 = nn.Conv3d(2, 6, 3, padding=1), nn.ReLU()
        self.conv2, self.act2 = nn.Conv3d(6, 5, 3, stride=2), nn.ReLU()
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Classes (N, 5)."""
        return self.fc(self.act2(self.conv2(self.act1(self.conv1(x)))).mean((2, 3, 4)))


class Tokens(nn.Module):
    """A class token and 4 x 4 patches, mixed by linear maps with ReLUs, on images (N, 3, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.mix, self.up, self.act, self.down = nn.Linear(17, 17), nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6)
        self.block = nn.ReLU()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Classes (N, 5)."""
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        x = self.block(x + self.down(self.act(self.up(x))))
        return self.head(F.relu(self.mix(x.transpose(1, 2)).transpose(1, 2)).mean(1))


def as_map(tokens: Tensor) -> Tensor:
    """Tokens (N, 17, C) of `Tokens` as maps (N, C, 4, 4)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


class Segmentation(nn.Module):
    """One output per pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Classes (N, 5, H, W)."""
        return self.head(self.act(self.conv(x)))


@functools.lru_cache(maxsize=32)
def made(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """A network with the same weights however its ReLUs are spelled, its batch norms with statistics; in train mode.

    Tests share it, and so its captures: one that changes it takes a copy.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model.to(dtype)


def images(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    """Standard normal inputs."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
