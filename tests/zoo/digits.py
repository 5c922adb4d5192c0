"""The classic two-convolution net of methods.md, section 11, written with functions and with modules."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import FUNCTIONAL, MODULES, Kit
from tests.zoo.registry import add


class TwoConvFunctional(nn.Module):
    """Functional ReLU, one pool used twice, `view(-1, N)`."""

    def __init__(self, kit: Kit, width: int = 8):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, width, 3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1, self.fc2 = nn.Linear(width * 7 * 7, 16), nn.Linear(16, 10)
        self.features, self.relu = width * 7 * 7, kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = x.view(-1, self.features)
        return self.fc2(F.dropout(self.relu(self.fc1(x)), training=self.training))


class TwoConvModules(nn.Module):
    """The same network with a module for every call."""

    def __init__(self, kit: Kit, width: int = 8):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, width, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(width * 7 * 7, 16), nn.Linear(16, 10)
        self.relu1, self.relu2, self.relu3 = kit.relu(), kit.relu(), kit.relu()
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.flatten, self.drop = nn.Flatten(), nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.fc2(self.drop(self.relu3(self.fc1(self.flatten(x)))))


_FIELDS = {"shape": (3, 28, 28), "target": 7, "tags": "family"}
add("two_conv_functional", TwoConvFunctional, kit=FUNCTIONAL, notes=TwoConvFunctional.__doc__ or "", **_FIELDS)
add("two_conv_modules", TwoConvModules, kit=MODULES, notes=TwoConvModules.__doc__ or "", **_FIELDS)
