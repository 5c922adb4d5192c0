"""The DeepLIFT oracle against golden values, hand-made pools, and conservation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.oracles.deep_lift import deep_lift
from tests.support import assert_close


class Golden(nn.Module):
    """f = relu(relu(x1) + 2 relu(x2 - 1/2) - 3/4), methods.md section 5."""

    def forward(self, x):
        return torch.relu(torch.relu(x[:, 0]) + 2 * torch.relu(x[:, 1] - 0.5) - 0.75)


def test_golden():
    x, zero = torch.ones(1, 2), torch.zeros(1, 2)
    (m,) = deep_lift(Golden(), (x,), (zero,), None)
    assert_close((x - zero) * m, torch.tensor([[0.625, 0.625]]), 1e-15)


def test_linear_maps_and_the_derivative_where_nothing_differs():
    model = nn.Linear(5, 3)
    x, base = torch.randn(2, 5).double(), torch.randn(1, 5).double()
    (m,) = deep_lift(model, (x,), (base,), 2)
    assert_close(m, model.weight[2].expand(2, 5), 1e-15)
    (m,) = deep_lift(Golden(), (torch.ones(1, 2),), (torch.ones(1, 2),), None)
    assert m.tolist() == [[1.0, 2.0]]


class Pooled(nn.Module):
    def __init__(self, *window: int):
        super().__init__()
        self.pool = nn.MaxPool1d(*window)

    def forward(self, x):
        return self.pool(x).sum((1, 2))


@pytest.mark.parametrize(
    ("window", "x", "base", "expected"),
    [
        # o = 5 at 1, o' = 4 at 0: all of o - o' to the winner at x
        ((2,), [1.0, 5.0], [4.0, 2.0], [0.0, 1.0]),
        # o = 1 at 0, o' = 6 at 1: all of o - o' to the winner at the reference
        ((2,), [1.0, 0.0], [2.0, 6.0], [0.0, -5.0]),
        # element 1 wins both windows at x: 3 - 2 and 3 - 1, added
        ((2, 1), [0.0, 3.0, 1.0], [2.0, 0.0, 1.0], [0.0, 3.0, 0.0]),
    ],
)
def test_pools_by_hand(window, x, base, expected):
    x, base = torch.tensor([[x]]).double(), torch.tensor([[base]]).double()
    (m,) = deep_lift(Pooled(*window), (x,), (base,), None)
    assert_close((x - base) * m, torch.tensor([[expected]]), 1e-15)


def test_a_product_and_a_softmax_conserve():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return (self.a(x) * torch.softmax(self.b(x), 1)).sum(1)

    model, x, base = Gated().double(), torch.randn(3, 4).double(), torch.randn(3, 4).double()
    (m,) = deep_lift(model, (x,), (base,), None)
    with torch.no_grad():
        assert_close(((x - base) * m).sum(1), model(x) - model(base), 1e-14)


def test_what_it_does_not_know_is_an_error():
    class Sorted(nn.Module):
        def forward(self, x):
            return x.sort(1).values[:, 0]

    with pytest.raises(NotImplementedError, match="sort"):
        deep_lift(Sorted(), (torch.randn(2, 3),), (torch.zeros(1, 3),), None)
