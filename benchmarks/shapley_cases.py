"""Networks and rows on which Shapley values are computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
    """A case made concrete: the network in eval mode, rows x (N, d) and the one baseline (d,), float32."""

    case: Case
    model: nn.Sequential
    x: Tensor
    baseline: Tensor


def make_problem(case: Case, seed: int = 0) -> Problem:
    """Draws weights (torch's own start, biases included), standard normal rows and a baseline."""
    generator = torch.Generator().manual_seed(seed)
    first, second = case.hidden
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(case.features, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(second, 1)).eval().requires_grad_(False)
    x = torch.randn(case.rows, case.features, generator=generator)
    return Problem(case, model, x, 0.3 * torch.randn(case.features, generator=generator))
