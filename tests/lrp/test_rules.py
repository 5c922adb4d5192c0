"""Every rule by itself: published golden values, and each against the oracle's explicit matrices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from tests.lrp.cases import as_oracle
from tests.oracles import lrp as oracle
from tests.support import assert_close

TINY = 1e-12
# W = [[3, -1], [1, 1]]; (a, b); both outputs explained, each with itself as relevance.
SETTINGS = {"A": ((1.0, 2.0), (0.0, 0.0)), "B": ((1.0, 2.0), (1.0, -1.0)), "C": ((1.0, -2.0), (0.0, 0.0))}
GOLDEN = {
    "zero": (rules.Zero(), {"A": (4, 0), "B": (4, 0), "C": (4, 0)}),
    "epsilon": (rules.Epsilon(TINY), {"A": (4, 0), "B": (4, 0), "C": (4, 0)}),
    "epsilon 1": (rules.Epsilon(1.0), {"A": (2.25, 0.5)}),
    "gamma": (rules.Gamma(1.0, epsilon=TINY), {"A": (2.5, 1.5), "B": (2.8, 14 / 15), "C": (10 / 3, 2 / 3)}),
    "gamma, inputs as they are": (
        rules.Gamma(1.0, epsilon=TINY, bias="kept", split=False),
        {"A": (2.5, 1.5), "B": (3.2, 0.8), "C": (4.75, -0.75)},
    ),
    "z plus": (rules.ZPlus(epsilon=TINY), {"A": (2, 2), "B": (13 / 6, 4 / 3), "C": (2, 2)}),
    "z plus, inputs as they are": (
        rules.ZPlus(epsilon=TINY, bias="kept", split=False),
        {"A": (2, 2), "B": (2.5, 2), "C": (6, -2)},
    ),
    "alpha 2 beta 1": (rules.AlphaBeta(2, 1, epsilon=TINY), {"A": (4, 3), "B": (13 / 3, 2 / 3), "C": (4, 5)}),
    "w square": (rules.WSquare(epsilon=TINY), {"A": (2.4, 1.6), "B": (2.303030303, 0.848484848), "C": (4, 0)}),
    "flat": (rules.Flat(TINY), {"A": (2, 2), "B": (2, 2), "C": (2, 2)}),
    "z box": (rules.ZBox(0.0, 3.0, TINY), {"A": (1.75, 2.25), "B": (13 / 6, 11 / 6)}),
    "sign alpha 0": (rules.SignAlpha(0.0, TINY), {"A": (4 / 3, 8 / 3)}),
    "sign alpha 1": (rules.SignAlpha(1.0, TINY), {"A": (8 / 3, 4)}),
    "sign alpha 2": (rules.SignAlpha(2.0, TINY), {"A": (4, 16 / 3)}),
}


@pytest.mark.parametrize(("name", "setting"), [(n, s) for n, (_, found) in GOLDEN.items() for s in found])
def test_golden_values(name, setting):
    rule, expected = GOLDEN[name]
    a, b = SETTINGS[setting]
    model = nn.Linear(2, 2).double()
    model.weight.data = torch.tensor([[3.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    model.bias.data = torch.tensor(b, dtype=torch.float64)
    found = rx.lrp(model, torch.tensor([a], dtype=torch.float64), "all", composite=rule).values.sum(1)
    assert_close(found, torch.tensor([expected[setting]], dtype=torch.float64), 1e-9, name)


LAYERS = {
    "linear": (lambda: nn.Linear(10, 7), (10,)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=2, dilation=2, groups=2), (4, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1), (3, 7, 6)),
    "conv2d without bias": (lambda: nn.Conv2d(3, 5, (3, 2), bias=False), (3, 5, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, padding=1), (2, 3, 4, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (3, 4, 3)),
}
RULES = [
    rules.Epsilon(0.1),
    rules.Epsilon(0.1, bias="zero"),
    rules.Zero(),
    *(rules.Gamma(0.3, bias=bias) for bias in rules.BIASES),
    rules.Gamma(0.3, split=False),
    *(rules.ZPlus(bias=bias) for bias in rules.BIASES),
    rules.ZPlus(split=False, bias="kept"),
    *(rules.AlphaBeta(1.5, 0.5, bias=bias) for bias in rules.BIASES),
    rules.AlphaBeta(1, 0),
    *(rules.WSquare(bias=bias) for bias in rules.BIASES),
    rules.Flat(),
    rules.ZBox(-4.0, 4.0),
    rules.SignAlpha(0.7),
]


class _Net(nn.Module):
    """Two layers of one kind with a ReLU between them, so that inputs are signed and not, and a read-out."""

    def __init__(self, layer, shape, relu: bool):
        super().__init__()
        self.first, self.relu = layer(), relu
        with torch.no_grad():
            width = self.first(torch.zeros(1, *shape)).flatten(1).shape[1]
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        h = self.first(x)
        return self.last((torch.relu(h) if self.relu else h).flatten(1))


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "no relu"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("kind", LAYERS)
def test_against_explicit_matrices(backend, kind, rule, relu):
    layer, shape = LAYERS[kind]
    model = _Net(layer, shape, relu).double()
    for sign in (1, -1):
        x = torch.randn(2, *shape, dtype=torch.float64)
        x = x.abs() if sign < 0 else x
        expected = oracle.explain(model, (x,), oracle.each(as_oracle(rule)), 1).values[0]
        with rx.backend(backend):
            found = rx.lrp(model, x, 1, composite=rule).values
        assert_close(found, expected, 1e-10, repr(rule))


def test_a_box_given_per_channel():
    model = _Net(*LAYERS["conv2d"], True).double()
    x, low = torch.rand(2, 3, 7, 6, dtype=torch.float64), -torch.rand(3, 1, 1, dtype=torch.float64)
    rule = rules.ZBox(low, torch.ones(3, 1, 1, dtype=torch.float64))
    expected = oracle.explain(model, (x,), oracle.composite("epsilon"), 1, layer_rules={"first": as_oracle(rule)})
    found = rx.lrp(model, x, 1, composite="epsilon", layer_rules={"first": rule}).values
    assert_close(found, expected.values[0], 1e-10)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: rules.AlphaBeta(2, 2), "alpha"),
        (lambda: rules.AlphaBeta(0.5, -0.5), "beta"),
        (lambda: rules.Gamma(-1), "gamma"),
        (lambda: rules.Gamma(math.inf), "gamma"),
        (lambda: rules.Epsilon(-1e-3), "epsilon"),
        (lambda: rules.Epsilon("a"), "epsilon"),
        (lambda: rules.ZPlus(bias="gone"), "bias"),
        (lambda: rules.ZBox(1.0, 0.0), "low"),
        (lambda: rules.ZBox(torch.zeros(3), torch.ones(2)), "low"),
        (lambda: rules.SignAlpha(math.nan), "alpha"),
    ],
)
def test_wrong_arguments(make, argument):
    with pytest.raises(rx.InvalidInput) as raised:
        make()
    assert raised.value.argument == argument


def test_equal_boxes_are_equal():
    assert rules.ZBox(-1.0, 1.0) == rules.ZBox(-1.0, 1.0) != rules.ZBox(-1.0, 2.0)
    low = torch.zeros(3)
    assert rules.ZBox(low, 1.0) == rules.ZBox(low.clone(), 1.0) != rules.ZBox(low - 1, 1.0)
    assert hash(rules.ZBox(low, 1.0)) == hash(rules.ZBox(low.clone(), 1.0))
    assert rules.ZBox(low, 1.0) != rules.ZBox(0.0, 1.0)
