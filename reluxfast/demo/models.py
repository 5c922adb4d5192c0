"""The two small networks of the demo, written the way people write networks: functional, reused and in-place parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Residual CNN for 8x8 digits: `(N, 1, 8, 8)` float to `(N, 10)` logits, 19 k parameters.

    It uses functional ReLU, one ReLU module in two places, an in-place residual add, max-pooling and a mean written as
    `x.mean((2, 3))`: constructs that methods built on module hooks miss.
    """

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.stem_bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.widen = nn.Conv2d(16, 32, 3, padding=1)
        self.branch1 = nn.Conv2d(32, 24, 3, padding=1, bias=False)
        self.branch1_bn = nn.BatchNorm2d(24)
        self.branch2 = nn.Conv2d(24, 32, 3, padding=1, bias=False)
        self.branch2_bn = nn.BatchNorm2d(32)
        self.joined = nn.ReLU()
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem_bn(self.stem(x)))
        skip = F.relu(self.widen(x))
        x = self.relu(self.branch1_bn(self.branch1(skip)))
        x = self.branch2_bn(self.branch2(x))
        x += skip
        x = F.max_pool2d(self.joined(x), 2)
        return self.head(x.mean((2, 3)))


class PhotoNet(nn.Module):
    """Fully convolutional CNN for colour crops of any size: `(N, 3, H, W)` float in [0, 1] to `(N, K)` logits.

    Trained on 32x32 crops it still reads larger images, since the last map is averaged over its positions.
    """

    def __init__(self, classes: int = 4):
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.block2 = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32))
        self.block3 = nn.Sequential(nn.Conv2d(32, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(48, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.block1(x - 0.5)))
        x = self.pool(torch.relu(self.block2(x)))
        return self.head(self.block3(x)).mean((2, 3))


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
