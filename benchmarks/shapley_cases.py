"""Networks and rows on which Shapley values are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluxfast.demo import data


@dataclass(frozen=True)
class Case:
    """A multilayer perceptron with one output, and how much is spent on how many rows.

    Attributes:
        name: of the case.
        features, hidden: d, (H1, H2).
        rows: rows explained in one call.
        orders: permutations for each row.
    """

    name: str
    features: int
    hidden: tuple[int, int]
    rows: int
    orders: int

    @property
    def evaluations(self) -> int:
        """Evaluations of the network per row: inner coalitions of every order, and x."""
        return self.orders * (self.features - 1) + 1

    @property
    def flop(self) -> int:
        """FLOP of one call where the first layer is a running sum: 2 (H1 + H1 H2 + H2) for each evaluation."""
        first, second = self.hidden
        return self.rows * self.evaluations * 2 * (first + first * second + second)


CASES = {
    case.name: case
    for case in (
        Case("d30", 30, (128, 64), 64, 50),
        Case("d100", 100, (256, 128), 32, 50),
        Case("d784", 784, (256, 128), 4, 10),
    )
}
TINY = {name: Case(name, 8, (16, 8), 3, 4) for name in CASES}


@dataclass(frozen=True)
class Problem:
    """A case made concrete: the network in eval mode, rows x (N, d) and background rows (B, d), float32.

    `seed` is that of the draws.
    """

    case: Case
    model: nn.Sequential
    x: Tensor
    background: Tensor
    seed: int = 0

    @property
    def baseline(self) -> Tensor:
        """(d,) the first background row, for who takes only one."""
        return self.background[0]


def make_problem(case: Case, seed: int = 0) -> Problem:
    """Draws weights (torch's own start, biases included), standard normal rows and a baseline."""
    generator = torch.Generator().manual_seed(seed)
    first, second = case.hidden
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(case.features, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(second, 1)).eval().requires_grad_(False)
    x = torch.randn(case.rows, case.features, generator=generator)
    return Problem(case, model, x, 0.3 * torch.randn(1, case.features, generator=generator))


def trained(features: int, rows: int, backgrounds: int, quick: bool = False) -> Problem:
    """The first columns of scikit-learn's breast cancer data, standardised, and a 32-16 MLP trained on them.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    split, _ = data.breast_cancer(0)
    mean, scale = split.train_x.mean(0), split.train_x.std(0)
    x, test = (((given - mean) / scale)[:, :features] for given in (split.train_x, split.test_x))
    case = Case(f"breast cancer, {features} columns", features, (32, 16), rows, 8)
    model = _fitted(case, x, split.train_y.float(), F.binary_cross_entropy_with_logits, 64, 2 if quick else 40)
    return Problem(case, model, test[:rows].contiguous(), x[:backgrounds].contiguous())


def interacting(features: int, rows: int, backgrounds: int, quick: bool = False) -> Problem:
    """Normal rows, twelve products of three of their elements, and a 128-64 MLP fitted to the sum of these."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.stack([torch.randperm(features, generator=generator)[:3] for _ in range(12)])
    x = torch.randn(512 if quick else 16_384, features, generator=generator)
    case = Case(f"products of {features} columns", features, (128, 64), rows, 8)
    model = _fitted(case, x, x[:, groups].prod(-1).sum(1) / len(groups) ** 0.5, F.mse_loss, 256, 2 if quick else 15)
    return Problem(case, model, torch.randn(rows, features, generator=generator), x[:backgrounds].contiguous())


def _fitted(
    case: Case, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], batch: int, epochs: int
) -> nn.Sequential:
    """A case's network after Adam."""
    first, second = case.hidden
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(case.features, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(second, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            for some in torch.randperm(len(x)).split(batch):
                optimizer.zero_grad()
                loss(model(x[some])[:, 0], y[some]).backward()
                optimizer.step()
    return model.eval().requires_grad_(False)
