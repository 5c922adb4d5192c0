"""Games: multilayer perceptrons, the rows whose outputs are explained, and what stands for absent players."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluxfast.demo import data


@dataclass(frozen=True)
class Game:
    """A perceptron with two hidden layers, and rows of its input, of which every element is a player.

    Attributes:
        model: (N, d) -> (N, K), in eval mode.
        x: (N, d) rows that are explained.
        background: (B, d) rows that stand for absent players.
    """

    model: nn.Sequential
    x: Tensor
    background: Tensor

    @property
    def players(self) -> int:
        """d."""
        return self.x.shape[1]

    @property
    def outputs(self) -> int:
        """K."""
        return self.model[-1].out_features

    @property
    def hidden(self) -> tuple[int, int]:
        """(H1, H2)."""
        return self.model[0].out_features, self.model[2].out_features

    def to(self, device: torch.device, dtype: torch.dtype) -> Game:
        """A copy on another device and in another dtype."""
        how = {"device": device, "dtype": dtype}
        return Game(copy.deepcopy(self.model).to(**how), self.x.to(**how), self.background.to(**how))

    def double(self) -> Game:
        """A copy in float64, for references."""
        return self.to(self.x.device, torch.float64)

    def flop(self, evaluations: int) -> int:
        """FLOP where the first layer is a running sum: 2 (H1 + H1 H2 + H2 K) for each evaluation."""
        first, second = self.hidden
        return evaluations * 2 * (first + first * second + second * self.outputs)

    def moved(self) -> int:
        """Bytes of weights, rows and values, each of which must be read or written once."""
        numbers = sum(p.numel() for p in self.model.parameters()) + self.x.numel() + self.background.numel()
        return (numbers + self.x.numel() * self.outputs) * self.x.element_size()


# Of the breast cancer data.
TEST_ROWS = 143


def drawn(players: int, hidden: tuple[int, int], rows: int, outputs: int = 1, seed: int = 0) -> Game:
    """Weights as torch draws them, biases included, standard normal rows and one background row."""
    generator = torch.Generator().manual_seed(seed)
    model = _perceptron(players, hidden, outputs, seed)
    x = torch.randn(rows, players, generator=generator)
    return Game(model.eval().requires_grad_(False), x, 0.3 * torch.randn(1, players, generator=generator))


def trained(players: int, rows: int, backgrounds: int, quick: bool = False, seed: int = 0) -> Game:
    """The first columns of scikit-learn's breast cancer data, standardised, and a 32-16 perceptron trained on them.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    split, _ = data.breast_cancer(0)
    mean, scale = split.train_x.mean(0), split.train_x.std(0)
    x, test = (((given - mean) / scale)[:, :players] for given in (split.train_x, split.test_x))
    model = _perceptron(players, (32, 16), 1, seed)
    _fit(model, x, split.train_y.float(), F.binary_cross_entropy_with_logits, 64, 2 if quick else 40, seed)
    return Game(model, test[:rows].contiguous(), x[:backgrounds].contiguous())


def interacting(players: int, rows: int, backgrounds: int, quick: bool = False, seed: int = 0) -> Game:
    """Normal rows, twelve products of three of their elements, and a 128-64 perceptron fitted to the sum of these."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.stack([torch.randperm(players, generator=generator)[:3] for _ in range(12)])
    x = torch.randn(512 if quick else 16_384, players, generator=generator)
    model = _perceptron(players, (128, 64), 1, seed)
    wanted = x[:, groups].prod(-1).sum(1) / len(groups) ** 0.5
    _fit(model, x, wanted, F.mse_loss, 256, 2 if quick else 15, seed)
    return Game(model, torch.randn(rows, players, generator=generator), x[:backgrounds].contiguous())


def _perceptron(players: int, hidden: tuple[int, int], outputs: int, seed: int) -> nn.Sequential:
    first, second = hidden
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(players, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(second, outputs))


def _fit(
    model: nn.Sequential,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    batch: int,
    epochs: int,
    seed: int,
) -> None:
    """Adam, in place; the model is frozen and in eval mode then."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for some in torch.randperm(len(x), generator=generator).split(batch):
            optimizer.zero_grad()
            loss(model(x[some])[:, 0], y[some]).backward()
            optimizer.step()
    model.eval().requires_grad_(False)
