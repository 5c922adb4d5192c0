"""LRP that is itself differentiated: with respect to the input, and to the parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from tests.support import assert_close

COMPOSITES = {
    "epsilon": "epsilon",
    "epsilon_plus": "epsilon_plus",
    "epsilon_plus_flat": "epsilon_plus_flat",
    "epsilon_alpha2_beta1": "epsilon_alpha2_beta1",
    "box": rx.composite("epsilon_gamma_box", low=-4.0, high=4.0),
    "zero": rules.Zero(),
    "w2": rules.WSquare(),
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.side, self.pool, self.head = nn.Conv2d(3, 3, 1), nn.MaxPool2d(2), nn.Linear(6, 2)

    def forward(self, x):
        h = torch.relu(self.norm(self.conv(x)))
        h = self.pool(torch.relu(self.side(h) + h))
        return self.head(torch.cat([h.mean((2, 3)), h.sum((2, 3))], 1))


@pytest.fixture
def net():
    torch.manual_seed(2)
    return Net().double().eval()


@pytest.mark.parametrize("name", COMPOSITES)
def test_gradcheck(net, name):
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    parameters = [p for p in net.parameters() if p.dim() != 1 or p.numel() == 3]

    def relevance(x, *given):
        return rx.lrp(net, x, 1, composite=COMPOSITES[name], create_graph=True).values

    assert torch.autograd.gradcheck(relevance, (x, *parameters), eps=1e-7, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", COMPOSITES)
def test_values_are_those_of_the_reference(net, name):
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    with rx.backend("reference"):
        expected = rx.lrp(net, x, "all", composite=COMPOSITES[name]).values
    found = rx.lrp(net, x, "all", composite=COMPOSITES[name], create_graph=True).values
    assert found.requires_grad and not expected.requires_grad
    assert_close(found.detach(), expected, 0)


def test_a_loss_on_relevance_trains_the_model(net):
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    outside = torch.ones_like(x)
    outside[..., :3] = 0
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        r = rx.lrp(net, x, 0, composite="epsilon_plus", create_graph=True).values
        loss = (outside * r).pow(2).sum() / r.detach().pow(2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_ordinary_calls_keep_no_history(net):
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert not rx.lrp(net, x, 0).values.requires_grad
    with torch.no_grad(), pytest.raises(rx.InvalidInput, match="create_graph needs gradients enabled"):
        rx.lrp(net, x, 0, create_graph=True)
    assert x.grad is None and all(p.grad is None for p in net.parameters())


def test_relu_rules_are_refused(net):
    with pytest.raises(rx.InvalidInput, match="create_graph has no meaning under guided_backprop"):
        rx.lrp(net, torch.randn(1, 2, 6, 6).double(), 0, composite="guided_backprop", create_graph=True)
