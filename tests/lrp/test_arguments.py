"""What users may pass, and what they are told when it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast as rx
from reluxfast import rules
from reluxfast.composites import by_kind
from tests.support import assert_close


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1, self.c2 = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        h = F.relu(self.b1(self.c1(x)))
        h = F.relu(self.c2(h) + h)
        h = F.relu6(F.interpolate(h, scale_factor=2))
        h = F.relu(F.avg_pool2d(h, 2) - 0.1)
        return self.fc(h.mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(4)
    model = Net().double().eval()
    with torch.no_grad():
        model.b1.running_mean.normal_()
    return model


def _x(rows=2):
    return torch.randn(rows, 2, 6, 6, dtype=torch.float64)


EVERYTHING = [
    rules.Epsilon(),
    rules.Zero(),
    rules.Gamma(),
    rules.ZPlus(),
    rules.AlphaBeta(),
    rules.WSquare(),
    rules.Flat(),
    rules.ZBox(-4.0, 4.0),
    rules.SignAlpha(),
    rules.Norm(),
    rules.Gradient(),
]


@pytest.mark.parametrize("rest", [None, rules.Norm(), rules.Zero(), rules.Gradient()], ids=repr)
@pytest.mark.parametrize("rule", EVERYTHING, ids=lambda rule: type(rule).__name__)
def test_no_rule_changes_what_the_network_computes(net, rule, rest, backend):
    """A ReLU may become part of the step in front of it, but never be lost."""
    x, composite = _x(), by_kind(rule, rule, rest)
    with rx.backend(backend), torch.no_grad():
        found = rx.lrp(net, x, 1, composite=composite, fallback="gradient")
        assert_close(found.output, net(x), 1e-12)


@pytest.mark.parametrize("name", [n for n in rx.composites() if n != "epsilon_gamma_box"])
def test_no_composite_changes_what_the_network_computes(net, name):
    x = _x()
    with torch.no_grad():
        assert_close(rx.lrp(net, x, 1, composite=name).output, net(x), 1e-12)


@pytest.mark.parametrize("rule", [rules.Pass(), rules.Gradient()])
def test_a_folded_map_that_is_passed_or_differentiated(net, rule):
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    model, x = model.double().eval(), _x()
    found = rx.lrp(model, x, 1, composite="epsilon", layer_rules={"0": rule}, return_layers=True)
    assert_close(found.output, model(x).detach(), 1e-12)
    behind = found.layers["relu"]
    if isinstance(rule, rules.Pass):
        assert_close(found.values, behind, 1e-12)
    else:
        leaf = x.clone().requires_grad_(True)
        expected = torch.autograd.grad(model[:3](leaf), leaf, behind)[0]
        assert_close(found.values, expected, 1e-12)


def test_a_box_keeps_its_bounds(net):
    low, high = -4 * torch.ones(2, 1, 1), 4 * torch.ones(2, 1, 1)
    composite, x = rx.composite("epsilon_gamma_box", low=low, high=high), _x()
    before = rx.lrp(net, x, 1, composite=composite).values
    low.mul_(3)
    assert_close(rx.lrp(net, x, 1, composite=composite).values, before, 0)


def test_composites_may_take_turns(net):
    """Few plans are remembered; which ones, changes nothing."""
    x = _x()
    chosen = [rules.Epsilon(10.0**-i) for i in range(7)]
    first = [rx.lrp(net, x, 1, composite=rule).values for rule in chosen]
    for rule, value in zip(reversed(chosen), reversed(first), strict=True):
        assert_close(rx.lrp(net, x, 1, composite=rule).values, value, 0)


def test_results_stay_as_they_are(net):
    """Memory of one walk goes on to the next, that of results does not."""
    x, other = _x(), _x()
    kept = rx.lrp(net, x, 1, composite="epsilon", return_layers=True)
    copies = {name: value.clone() for name, value in kept.layers.items()}
    values = kept.values.clone()
    for _ in range(3):
        rx.lrp(net, other, 2, composite="epsilon", return_layers=True)
    assert torch.equal(kept.values, values)
    assert all(torch.equal(kept.layers[name], copy) for name, copy in copies.items())
    pointers = [value.data_ptr() for value in kept.layers.values()]
    assert len(set(pointers)) == len(pointers)


def test_no_rows(net):
    found = rx.lrp(net, _x(0), 1, balance=True, return_layers=["c2"])
    assert found.layers["c2"].shape == (0, 3, 6, 6) and found.balance.logit.shape == (0,)
    assert all(row.incoming.shape == (0,) for row in found.balance.rows)


def test_rows_that_are_not_finite_are_so_everywhere(net):
    x = _x()
    x[0, 0, 0, 0] = float("nan")
    with pytest.warns(UserWarning):
        found = rx.lrp(net, x, 1, return_layers=["c1", "fc"])
    for value in (found.values, *found.layers.values()):
        assert value[0].isnan().all() and value[1].isfinite().all()


def test_nothing_asked_for_is_nothing(net):
    assert rx.lrp(net, _x(), 1, return_layers=[]).layers == {}
    assert rx.lrp(net, _x(), 1).layers is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": "c1", "return_layers": ["c2"]}, "return_layers must lie on the way"),
        ({"start": "nowhere"}, "start must be the path of a module"),
        ({"return_layers": "nowhere"}, "return_layers must be the path of a module"),
        ({"return_layers": 3}, "return_layers must be True, False"),
        ({"return_layers": None}, "return_layers must be True, False"),
        ({"layer_rules": [("c1", rules.Flat())]}, "layer_rules must be a dict"),
        ({"layer_rules": {"nope": rules.Flat()}}, "There are: b1, c1, c2, fc"),
        ({"layer_rules": {"b1": rules.Flat()}}, "Give the rule to 'c1'"),
        ({"composite": rules.Epsilon}, r"Pass Epsilon\(\)"),
        ({"balance": "yes"}, "balance must be True or False"),
        ({"create_graph": 1}, "create_graph must be True or False"),
        ({"composite": "guided_backprop", "balance": True}, "balance has no meaning under guided_backprop"),
        ({"composite": "guided_backprop", "gates": "uint8"}, "gates has no meaning under guided_backprop"),
        ({"composite": "deconvnet", "products": "half"}, "products has no meaning under deconvnet"),
        ({"composite": "deconvnet", "gates": "nonsense"}, "gates must be one of"),
    ],
)
def test_wrong_options(net, options, says):
    with pytest.raises(rx.InvalidInput, match=says):
        rx.lrp(net, _x(), 1, **options)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rx.composite("epsilon_gamma_box"), r"low \(required\), high \(required\).*low=\.\.\., high=\.\.\."),
        (lambda: rx.composite("epsilon_gamma_box", low="a", high="b"), "low of ZBox must be a number or a Tensor"),
        (lambda: rx.composite("epsilon_gamma_box", low=None, high=1.0), "low of ZBox must be a number or a Tensor"),
        (lambda: rx.composite("deconvnet"), "lrp takes it by name"),
        (lambda: rx.composite("epsilon", gamma=1.0), "epsilon takes epsilon"),
        (lambda: rules.ZBox(float("-inf"), float("inf")), "must be finite"),
        (lambda: rules.Gamma(split="no"), "split of Gamma must be True or False"),
        (lambda: rules.ZPlus(split=3), "split of ZPlus must be True or False"),
    ],
)
def test_wrong_rules(make, says):
    with pytest.raises(rx.InvalidInput, match=says):
        make()


def test_rules_that_do_not_fit_a_node_are_refused(net):
    for options in ({"composite": rules.Product()}, {"layer_rules": {"c1": rules.Product()}}):
        with pytest.raises(rx.UnsupportedNode, match="cannot follow the rule Product"):
            rx.lrp(net, _x(), 1, **options)
        assert not rx.coverage(net, _x(), **options).ok


def test_a_folded_batch_norm_is_no_way_around_what_its_map_refuses():
    """Relevance cannot be passed on through a map that changes the number of channels, nor through its batch norm."""
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    passing = by_kind(rules.Pass(), rules.Epsilon())
    for fold in (True, False):
        with pytest.raises(rx.UnsupportedNode, match=r"aten\.conv2d in module '0' .* different shapes"):
            rx.lrp(net.eval(), torch.randn(2, 2, 4, 4), 0, composite=passing, fold_batch_norm=fold)


def test_numbers_of_any_kind():
    assert rules.Epsilon(np.float32(1e-3)).epsilon == np.float32(1e-3)
