"""Random small networks: a list of steps on four-channel maps, with everything reused that can be reused."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import Kit

CHANNELS, SIZE = 4, 6
STEPS = (
    "conv_relu",
    "conv_bn_relu",
    "bn_relu_conv",
    "shared_conv_relu",
    "shared_block",
    "grouped_dilated",
    "transposed",
    "pointwise",
    "residual",
    "residual_to_first",
    "concat",
    "max_pool",
    "relu_max_pool",
    "avg_pool",
    "down_up",
    "shuffle",
    "relu6",
    "scale",
    "gate",
)


@dataclass(frozen=True)
class Recipe:
    """Steps in order, the head ("flatten" or "mean"), and the parameters' seed."""

    steps: tuple[str, ...]
    head: str
    seed: int


class RandomNet(nn.Module):
    """A network made by a recipe; every ReLU acts on a value that nothing else reads, so it may be in place."""

    def __init__(self, recipe: Recipe, kit: Kit):
        super().__init__()
        c = CHANNELS
        self.recipe = recipe
        self.stem = nn.Conv2d(3, c, 3, padding=1)
        self.shared, self.shared_bn = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.convs = nn.ModuleList(self._own(step) for step in recipe.steps)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for _ in recipe.steps)
        self.relu, self.relu6 = kit.relu(), kit.relu6()
        width = c * SIZE * SIZE if recipe.head == "flatten" else c
        self.fc = nn.Linear(width, 3)

    @staticmethod
    def _own(step: str) -> nn.Module:
        c = CHANNELS
        if step == "grouped_dilated":
            return nn.Conv2d(c, c, 3, padding=2, dilation=2, groups=2)
        if step == "transposed":
            return nn.ConvTranspose2d(c, c, 3, padding=1)
        if step == "concat":
            return nn.Conv2d(2 * c, c, 1)
        return nn.Conv2d(
            c, c, 1 if step in ("pointwise", "gate") else 3, padding=0 if step in ("pointwise", "gate") else 1
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.stem(x))
        first = h
        for i, step in enumerate(self.recipe.steps):
            h = self._step(step, h, first, self.convs[i], self.norms[i])
        h = h.flatten(1) if self.recipe.head == "flatten" else h.mean((2, 3))
        return self.fc(h)

    def _step(self, step: str, h: Tensor, first: Tensor, conv: nn.Module, bn: nn.Module) -> Tensor:
        if step == "conv_bn_relu":
            return self.relu(bn(conv(h)))
        if step == "bn_relu_conv":
            return conv(self.relu(bn(h)))
        if step == "shared_conv_relu":
            return self.relu(self.shared(h))
        if step == "shared_block":
            return self.relu(self.shared_bn(self.shared(h)))
        if step == "residual":
            return self.relu(bn(conv(h)) + h)
        if step == "residual_to_first":
            out = conv(h)
            out += first
            return self.relu(out)
        if step == "concat":
            return conv(torch.cat([h, first], 1))
        if step == "max_pool":
            return F.max_pool2d(h, 3, 1, 1)
        if step == "relu_max_pool":
            return F.max_pool2d(self.relu(conv(h)), 3, 1, 1)
        if step == "avg_pool":
            return F.avg_pool2d(h, 3, 1, 1)
        if step == "down_up":
            return F.interpolate(F.max_pool2d(h, 2), scale_factor=2)
        if step == "shuffle":
            a, b = h.chunk(2, 1)
            return torch.cat([b, self.relu(conv(h))[:, :2] + a], 1)
        if step == "relu6":
            return self.relu6(4.0 * bn(conv(h)))
        if step == "scale":
            return h * 0.5 - 0.1
        if step == "gate":
            return h * torch.sigmoid(conv(h.mean((2, 3), keepdim=True)))
        return self.relu(conv(h))
