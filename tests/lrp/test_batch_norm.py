"""Batch norms as layers of their own (`fold_batch_norm=False`) against the oracle's explicit matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from reluxfast.composites import by_kind
from tests.lrp.cases import as_oracle
from tests.oracles import lrp as oracle
from tests.support import assert_close
from tests.zoo.registry import settle


class Net(nn.Module):
    """Batch norms that would fold, before a ReLU and before an addition; one over features; one that never folds."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.c2, self.b2, self.b3 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.fc1, self.b4, self.fc2 = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)

    def forward(self, x):
        h = torch.relu(self.b1(self.c1(x)))
        h = self.b3(torch.relu(self.b2(self.c2(h)) + h))
        return self.fc2(torch.relu(self.b4(self.fc1(h.mean((2, 3))))))


@pytest.fixture(scope="module")
def net():
    return settle(Net(), 5).double().eval()


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator(torch.get_default_device()).manual_seed(2)
    return torch.randn(2, 2, 4, 4, generator=generator, dtype=torch.float64)


MAPS = [
    rules.Epsilon(1e-9, bias="kept"),
    rules.Epsilon(0.1, bias="zero"),
    rules.Gamma(0.25, split=False, bias="kept"),
    rules.ZPlus(),
    rules.AlphaBeta(),
    rules.Flat(),
]
NORMS = [rules.Pass(), rules.Epsilon(1e-9), rules.Epsilon(0.1), rules.Zero(), rules.Gradient()]


@pytest.mark.parametrize("norm", NORMS, ids=repr)
@pytest.mark.parametrize("rule", MAPS, ids=repr)
def test_against_the_oracle(net, x, rule, norm, backend):
    def composite(layer):
        return norm if layer.kind == "batch_norm" else by_kind(rule, rule)(layer)

    def theirs(node):
        kinds = {"batch_norm": norm, "convolution": rule, "linear": rule}
        plain = {"add": rules.Norm(), "average": rules.Norm(), "activation": rules.Pass()}
        return as_oracle((kinds | plain)[node.kind])

    with rx.backend(backend):
        found = rx.lrp(net, x, 1, composite=composite, fold_batch_norm=False, balance=True, return_layers=["c1", "b1"])
    expected = oracle.explain(net, (x,), theirs, 1, fold=False)
    assert_close(found.values, expected.values[0], 1e-9)
    assert_close(found.layers["c1"], expected.node("c1").relevance, 1e-9, "c1")
    assert_close(found.layers["b1"], expected.node("b1").relevance, 1e-9, "b1")
    if norm != rules.Gradient():
        scale = sum(row.incoming.abs() for row in found.balance.rows).clamp_min(1)
        assert (found.balance.error * found.balance.logit.abs() <= 1e-9 * scale).all()


def test_a_batch_norm_has_a_rule_by_its_path(net, x):
    def theirs(node):
        return as_oracle(rules.Epsilon(0.2)) if node.path == "b1" else oracle.composite("epsilon")(node)

    found = rx.lrp(net, x, 2, composite="epsilon", layer_rules={"b1": rules.Epsilon(0.2)}, fold_batch_norm=False).values
    assert_close(found, oracle.explain(net, (x,), theirs, 2, fold=False).values[0], 1e-9)


def test_it_can_be_differentiated(net, x):
    leaf = x.clone().requires_grad_()
    options = {"composite": by_kind(rules.Epsilon(0.1), rules.Epsilon(0.1), rules.Epsilon(0.1))}
    values = rx.lrp(net, leaf, 1, fold_batch_norm=False, create_graph=True, **options).values
    (slope,) = torch.autograd.grad(values.square().sum(), leaf)
    step = 1e-6 * torch.randn_like(x)
    up, down = (rx.lrp(net, x + s * step, 1, fold_batch_norm=False, **options).values.square().sum() for s in (1, -1))
    assert_close((slope * step).sum(), (up - down) / 2, 1e-5)


def test_coverage_tells(net, x):
    folded = {row.path: row.does for row in rx.coverage(net, x, "epsilon").rows}
    apart = {row.path: row.does for row in rx.coverage(net, x, "epsilon", fold_batch_norm=False).rows}
    assert folded["b1"] == "folded into conv2d" and folded["b3"] == "Pass()"
    assert apart["b1"] == apart["b2"] == apart["b3"] == apart["b4"] == "Pass()"


def test_relevance_at_what_layers_take(net, x):
    """Of an addition both operands; of a layer the value in front, which is what the layer before returns."""

    class Add(nn.Module):
        def forward(self, a, b):
            return a + b

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.b, self.relu, self.add, self.fc = net.c1, net.b1, nn.ReLU(), Add(), nn.Linear(48, 4).double()
            self.other = net.c2

        def forward(self, x):
            h = self.relu(self.b(self.c(x)))
            return self.fc(self.add(self.other(h), h).flatten(1))

    model = Residual().eval()
    options = {"composite": "epsilon", "fold_batch_norm": False}
    taken = rx.lrp(model, x, 1, return_layers=["b", "add", "other", "c"], layer_inputs=True, **options).layers
    made = rx.lrp(model, x, 1, return_layers=["c", "other", "relu"], **options)
    assert_close(taken["b"], made.layers["c"], 1e-12)
    assert_close(taken["add"][0], made.layers["other"], 1e-12)
    assert_close(taken["add"][1], made.layers["relu"], 1e-12)
    assert_close(taken["other"], made.layers["relu"], 1e-12)
    assert_close(taken["c"], made.values, 1e-12)
    each = rx.lrp(model, x, "all", return_layers="add", layer_inputs=True, **options).layers["add"]
    assert [v.shape for v in each] == [(2, 4, 3, 4, 4)] * 2
    assert_close(each[1][:, 1], taken["add"][1], 1e-12)
    nothing = rx.lrp(model, x[:0], 1, return_layers="add", layer_inputs=True, **options).layers["add"]
    assert [v.shape for v in nothing] == [(0, 3, 4, 4)] * 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fold_batch_norm": 0}, "fold_batch_norm must be True or False"),
        ({"layer_inputs": "yes"}, "layer_inputs must be True or False"),
        ({"layer_inputs": True}, "layer_inputs needs return_layers to name layers, got return_layers=False"),
        ({"layer_inputs": True, "return_layers": ["b1"]}, "Pass fold_batch_norm=False"),
        ({"layer_inputs": True, "return_layers": ["nowhere"]}, "return_layers must be the path of a module"),
        ({"composite": "deconvnet", "fold_batch_norm": False}, "fold_batch_norm has no meaning under deconvnet"),
    ],
)
def test_wrong_options(net, x, options, says):
    with pytest.raises(rx.InvalidInput, match=says):
        rx.lrp(net, x, 1, **options)


def test_a_bias_that_cannot_be_left_out_is_refused(net, x):
    with pytest.raises(rx.UnsupportedNode, match="cannot follow the rule Epsilon"):
        rx.lrp(net, x, 1, layer_rules={"b3": rules.Epsilon(bias="zero")})


@pytest.mark.parametrize("layer", [nn.LayerNorm(6), nn.Softmax(1)], ids=repr)
def test_any_operation_on_one_value_can_pass_relevance(layer):
    model = nn.Sequential(nn.Linear(5, 6), layer, nn.Linear(6, 3)).double().eval()
    x = torch.randn(3, 5, dtype=torch.float64)
    options = {"composite": "epsilon", "layer_rules": {"1": rules.Pass()}, "return_layers": ["0", "1"]}
    layers = rx.lrp(model, x, 2, **options).layers
    assert_close(layers["0"], layers["1"], 1e-12)


@pytest.mark.parametrize(
    "layer", [nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Softplus(), nn.LayerNorm(6), nn.Flatten(), nn.ReLU6()], ids=repr
)
def test_the_epsilon_rule_of_any_operation_on_one_value(layer, backend):
    """R_in = x ⊙ Jᵀ(R / s(y)), by autograd."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 6), layer, nn.Linear(6, 3)).double().eval()
    x, epsilon = torch.randn(3, 5, dtype=torch.float64), 0.05
    options = {"composite": "epsilon", "layer_rules": {"1": rules.Epsilon(epsilon)}, "return_layers": ["0", "1"]}
    with rx.backend(backend):
        layers = rx.lrp(model, x, 2, **options).layers
    z = model[0](x).detach().requires_grad_()
    y = layer(z)
    s = y.detach() + epsilon * torch.where(y >= 0, 1.0, -1.0).double()
    (expected,) = torch.autograd.grad(y, z, layers["1"] / s)
    assert_close(layers["0"], z.detach() * expected, 1e-10)
