"""Several inputs, shared inputs, unused inputs, constants and positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.zoo.kit import Kit
from tests.zoo.registry import add, construct


@construct(shapes=((3, 6, 6), (5,)))
class ImageAndVector(nn.Module):
    """Two inputs of different shapes."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(3, 4, 3), nn.Linear(5, 6), nn.Linear(70, 4)
        self.relu = kit.relu()

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        return self.fc2(torch.cat([self.relu(self.conv(image)).flatten(1), self.relu(self.fc1(vector))], 1))


@construct(shapes=((8,), (8,)))
class Siamese(nn.Module):
    """Two inputs through one trunk."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.trunk, self.head, self.relu = nn.Linear(8, 9), nn.Linear(9, 4), kit.relu()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(self.relu(self.trunk(a)) - 0.5 * self.relu(self.trunk(b)))


@construct()
class InputOnBranches(nn.Module):
    """The input is read by three branches, one of them the identity."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 5, padding=2)
        self.act1, self.act2, self.fc = kit.relu(), kit.relu(), nn.Linear(3 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.act1(self.a(x)) + self.act2(self.b(x)) + x).flatten(1))


@construct(shapes=((6,), (3,)))
class UnusedInput(nn.Module):
    """The second input does not reach the output: its attribution is exactly 0."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.relu, self.b = nn.Linear(6, 7), kit.relu(), nn.Linear(7, 4)

    def forward(self, x: Tensor, unused: Tensor) -> Tensor:
        return self.b(self.relu(self.a(x)))


@construct(shapes=((4, 5), (4, 5), (5,)))
class ThreeInputs(nn.Module):
    """A product of inputs, an added one, and one broadcast over an axis."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.relu, self.b = nn.Linear(5, 6), kit.relu(), nn.Linear(24, 4)

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return self.b(self.relu(self.a(x * y + z.unsqueeze(1))).flatten(1))


@construct(shape=(5, 6))
class LearnedPosition(nn.Module):
    """A learned position added to the input, a class token concatenated in front."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.position, self.token = nn.Parameter(torch.zeros(1, 5, 6)), nn.Parameter(torch.zeros(1, 1, 6))
        self.fc1, self.relu, self.fc2 = nn.Linear(6, 7), kit.relu(), nn.Linear(42, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x + self.position], 1)
        return self.fc2(self.relu(self.fc1(x)).flatten(1))


@construct(shape=(3, 6, 6))
class NormalisedInput(nn.Module):
    """Constants made in the forward pass and buffers: mean and standard deviation of the data."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), kit.relu(), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        std = torch.tensor([0.2, 0.25, 0.3], dtype=x.dtype).reshape(3, 1, 1)
        return self.fc(self.relu(self.conv((x - self.mean) / std)).flatten(1))


@construct(shape=(6,))
class BatchSizeAsNumber(nn.Module):
    """The batch size enters the forward pass as a number (zeros of the batch's size, a state)."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.b, self.relu = nn.Linear(6, 6), nn.Linear(12, 4), kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 6) + 0.5
        ones = torch.ones(x.size(0), 6, dtype=x.dtype)
        return self.b(torch.cat([self.relu(self.a(x) + state), ones * x], 1))


add("linear_only", lambda kit: nn.Linear(6, 4), shape=(6,), notes="no ReLU, the root module is a leaf")
add("flatten_only", lambda kit: nn.Flatten(), shape=(2, 3), notes="no parameter at all")
