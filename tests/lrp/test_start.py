"""Relevance that begins inside a network, and relevance at chosen layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from tests.support import assert_close


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        h = self.first(x)
        h = torch.relu(self.second(h) + h)
        return self.head(h.mean((2, 3)))

    def until_second(self, x):
        return self.second(self.first(x))


class Until(nn.Module):
    """The network that ends at `second`, its elements as outputs."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.until_second(x).flatten(1)


@pytest.fixture
def net():
    torch.manual_seed(1)
    model = Net().double().eval()
    with torch.no_grad():
        model.first[1].running_mean.normal_()
        model.first[1].running_var.uniform_(0.5, 2)
    return model


def _x(rows=2):
    return torch.randn(rows, 3, 5, 7, dtype=torch.float64)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1"])
def test_a_neuron_is_the_output_of_the_network_that_ends_there(net, composite, backend):
    x, (c, h, w) = _x(), (4, 2, 3)
    with rx.backend(backend):
        found = rx.lrp(net, x, (c, h, w), composite=composite, start="second")
        expected = rx.lrp(Until(net), x, (c * 5 + h) * 7 + w, composite=composite)
    assert_close(found.values, expected.values, 1e-12)
    assert_close(found.output, net.until_second(x), 1e-12)


@pytest.mark.parametrize("target", [4, [4, 1], torch.tensor([4, 1]), (4,), None])
def test_channels_are_sums_of_their_neurons(net, target):
    x = _x()
    every = rx.lrp(Until(net), x, "all", composite="epsilon_plus").values.unflatten(1, (6, 35))
    if target is None:
        expected = every.sum((1, 2))
    else:
        channels = [4, 1] if isinstance(target, (list, torch.Tensor)) else [4, 4]
        expected = torch.stack([every[n, c].sum(0) for n, c in enumerate(channels)])
    found = rx.lrp(net, x, target, composite="epsilon_plus", start=net.second)
    assert_close(found.values, expected, 1e-12)


def test_neurons_of_a_linear_layer(net):
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    hidden = nn.Sequential(*model[:2])
    every = rx.lrp(model, x, "all", start="1", composite="epsilon")
    assert_close(every.values, rx.lrp(hidden, x, "all", composite="epsilon").values, 1e-12)
    assert every.values.shape == (3, 8, 5)


@pytest.mark.parametrize(("target", "says"), [((6, 0, 0), "must lie in"), (6, "must lie in"), ("all", r"'all' needs")])
def test_targets_that_do_not_fit(net, target, says):
    with pytest.raises(rx.InvalidInput, match=says):
        rx.lrp(net, _x(), target, start="second")


def test_starts_that_do_not_exist(net):
    with pytest.raises(rx.InvalidInput, match="must be the path of a module"):
        rx.lrp(net, _x(), 0, start="third")


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus_flat", "alpha1_beta0"])
def test_chosen_layers_hold_what_all_layers_hold(net, composite):
    x = _x()
    every = rx.lrp(net, x, 1, composite=composite, return_layers=True)
    chosen = rx.lrp(net, x, 1, composite=composite, return_layers=["first", net.second, "head"])
    assert list(chosen.layers) == ["first", "second", "head"]
    assert_close(chosen.values, every.values, 1e-11)
    nodes = {"first": "relu", "second": "conv2d_1", "head": "linear"}
    for path, name in nodes.items():
        assert_close(chosen.layers[path], every.layers[name], 1e-11, path)
    logit = every.output[:, 1]
    assert_close(chosen.layers["head"][:, 1], logit, 1e-12)
    one = rx.lrp(net, x, "all", composite=composite, return_layers="second")
    assert_close(one.layers["second"][:, 1], chosen.layers["second"], 1e-12)


def test_a_map_before_its_folded_batch_norm_means_the_folded_map(net):
    x = _x()
    found = rx.lrp(net, x, 1, composite="epsilon", return_layers=["first.0", "first.1"])
    assert_close(found.layers["first.0"], found.layers["first.1"], 0)
    assert_close(found.values, rx.lrp(net, x, 1, composite="epsilon").values, 1e-12)


def test_start_and_balance(net):
    found = rx.lrp(net, _x(), 2, composite=rules.Epsilon(), start="second", balance=True)
    assert_close(found.balance.logit, found.output[:, 2].sum((1, 2)), 1e-13)
    assert (found.balance.error < 1e-10).all()
