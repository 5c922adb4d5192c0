"""Products of two values: where relevance goes, in both forms a signal may have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from tests.support import assert_close


class SqueezeExcite(nn.Module):
    """relu(conv) times a gate per channel."""

    def __init__(self, gate):
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 4), nn.Linear(4, 3)
        self.function = gate

    def forward(self, x):
        h = torch.relu(self.conv(x))
        g = self.function(self.gate(h.mean((2, 3))))
        return self.head((h * g[:, :, None, None]).mean((2, 3)))


class Fixed(nn.Module):
    """The same network with the gate of one input as a constant."""

    def __init__(self, net, x):
        super().__init__()
        self.net = net
        h = torch.relu(net.conv(x))
        self.g = net.function(net.gate(h.mean((2, 3))))[:, :, None, None].detach()

    def forward(self, x):
        return self.net.head((torch.relu(self.net.conv(x)) * self.g).mean((2, 3)))


def _net(gate=torch.sigmoid):
    torch.manual_seed(3)
    return SqueezeExcite(gate).double(), torch.randn(1, 2, 6, 5, dtype=torch.float64)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1_flat"])
@pytest.mark.parametrize("gate", [torch.sigmoid, nn.functional.hardsigmoid, torch.relu])
def test_all_to_the_signal_is_a_constant_gate(gate, composite, backend):
    net, x = _net(gate)
    with rx.backend(backend):
        found = rx.lrp(net, x, 1, composite=composite, products="signal")
        expected = rx.lrp(Fixed(net, x), x, 1, composite=composite)
    assert_close(found.values, expected.values, 1e-12)


def test_half_to_each(backend):
    """Under LRP-0 without biases all relevance reaches the input, half of it through the gate."""
    net, x = _net(torch.tanh)
    with torch.no_grad():
        for layer in (net.conv, net.gate, net.head):
            layer.bias.zero_()
    with rx.backend(backend):
        found = rx.lrp(net, x, 1, composite=rules.Zero(), products="half", balance=True, return_layers=True)
    assert_close(found.values.sum((1, 2, 3)), found.output[:, 1], 1e-9)
    assert_close(found.layers["tanh"].sum(), found.layers["mul"].sum() / 2, 1e-9)
    assert float(found.balance.error) < 1e-9


@pytest.mark.parametrize("share", ["signal", "half"])
def test_relevance_as_such_and_multipliers_agree(share):
    """A rule of flat behind the product wants relevance itself; nothing is zero here, so both forms must agree."""
    torch.manual_seed(5)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.g, self.tail = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.tail(self.a(x) * torch.sigmoid(self.g(x)))

    net, x = Net().double(), torch.randn(2, 3, dtype=torch.float64)
    found = rx.lrp(net, x, 0, composite=rules.Epsilon(), layer_rules={"tail": rules.Flat()}, products=share)
    product = rx.lrp(
        net, x, 0, composite=rules.Epsilon(), layer_rules={"tail": rules.Flat()}, products=share, return_layers=True
    ).layers["mul"]
    part = product if share == "signal" else product / 2
    z = net.a(x)
    expected = x * ((part / (z + 1e-6 * torch.where(z >= 0, 1.0, -1.0))) @ net.a.weight)
    if share == "half":
        y = net.g(x)
        expected = expected + x * ((part / (y + 1e-6 * torch.where(y >= 0, 1.0, -1.0))) @ net.g.weight)
    assert_close(found.values, expected.detach(), 1e-10)


def test_products_need_a_choice():
    net, x = _net()
    with pytest.raises(rx.UnsupportedNode, match='Pass products="half"'):
        rx.lrp(net, x, 0)
    with pytest.raises(rx.InvalidInput, match="products must be None or one of signal, half"):
        rx.lrp(net, x, 0, products="all")

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.a(x) * self.b(x)

    with pytest.raises(rx.UnsupportedNode, match="neither is seen to be a gate"):
        rx.lrp(Square(), torch.randn(2, 3), 0, products="signal")
    assert rx.lrp(Square(), torch.randn(2, 3), 0, products="half").values.isfinite().all()


def test_a_gate_may_be_made_by_anything():
    """What only makes the gate carries no relevance, so it needs no rule."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x):
            return self.a(x) * torch.softmax(torch.layer_norm(self.b(x), (4,)) ** 2, -1)

    net, x = Attention().double(), torch.randn(2, 3, dtype=torch.float64)
    with pytest.raises(rx.UnsupportedNode):
        rx.lrp(net, x, 0, products="half")
    found = rx.lrp(net, x, 2, composite="epsilon", products="signal", balance=True)
    assert (found.balance.error < 1e-6).all()
