"""The walk as a whole: identities, balances, layers, classes, chunks of rows, arguments."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from tests.lrp.cases import COMPOSITES, composites
from tests.oracles import lrp as oracle
from tests.relevance.cases import case
from tests.support import assert_close

NETS = ["resnet18", "densenet", "vgg"]


@pytest.mark.parametrize("name", NETS)
def test_lrp_0_is_input_x_gradient(name):
    found = case(name)
    expected = found.attribute("input_x_gradient")
    assert_close(found.attribute("lrp", composite=rules.Zero()).values, expected.values, 1e-12)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", ["resnet18", "densenet"])
def test_the_balance_closes(name, composite):
    found = case(name)
    result = found.attribute("lrp", composite=composites(composite)[0], balance=True)
    logit = result.balance.logit
    if composite != "excitation_backprop":
        # A sum that cancels to ε = 1e-6 has lost ten of its sixteen digits before it divides the relevance there.
        passed = sum(row.incoming.abs() for row in result.balance.rows)
        assert (result.balance.error * logit.abs() <= 2.2e-16 / 1e-6 * passed.clamp_min(1)).all()
    for row in result.balance.rows if composite != "excitation_backprop" else ():
        gap = row.incoming - row.outgoing - row.bias - row.stabiliser
        scale = row.incoming.abs() + row.bias.abs() + row.stabiliser.abs() + logit.abs()
        assert (gap.abs() <= 1e-9 * scale).all(), row.name
    assert result.layers is None and str(result.balance).count("\n") == len(result.balance.rows) + 2


@pytest.mark.parametrize("composite", COMPOSITES)
def test_balance_and_layers_against_the_oracle(composite):
    """Per node: what arrived, what the bias and the stabiliser took, and the relevance itself."""
    found = case("resnet18", rows=1)
    ours, theirs = composites(composite)
    tapes = oracle.record_construct(found.construct, found.inputs)
    expected = {n.path: n for n in tapes.explain(theirs, found.construct.target).nodes if n.kind == "linear"}
    result = found.attribute("lrp", composite=ours, balance=True, return_layers=True)
    rows = {row.path: row for row in result.balance.rows if row.op.endswith("linear")}
    assert rows and rows.keys() == expected.keys()
    for path, row in rows.items():
        for mine, its in (
            (row.incoming, expected[path].arriving),
            (row.bias, expected[path].to_bias),
            (row.stabiliser, expected[path].to_stabiliser),
        ):
            assert (mine - its).abs().max() <= 1e-9 * result.balance.logit.abs().max(), path
        assert_close(result.layers[row.name], expected[path].relevance, 1e-9, path)


def test_an_image_that_is_normalised_inside():
    """Relevance passes a shift by a constant: where a pixel has the mean's value, its share is no quotient by zero."""
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer((x - 0.5) / 0.25)

    x = torch.rand(2, 3, 6, 6)
    x[0, 0] = 0.5
    inside = rx.lrp(Normalised(), x, 1).values
    assert_close(inside, rx.lrp(layer, (x - 0.5) / 0.25, 1).values, 1e-5)


def test_all_classes_share_a_forward_pass():
    found = case("resnet18", rows=3)
    every = found.explainer.attribute(found.x, "all", "lrp", composite="epsilon_plus", balance=True, return_layers=True)
    for k in range(every.values.shape[1]):
        one = found.explainer.attribute(found.x, k, "lrp", composite="epsilon_plus", balance=True, return_layers=True)
        assert_close(every.values[:, k], one.values, 1e-11)
        assert_close(every.balance.bias[:, k], one.balance.bias, 1e-10)
        for name, value in one.layers.items():
            assert_close(every.layers[name][:, k], value, 1e-10, name)


def test_chunks_of_rows_change_nothing():
    found = case("resnet18", rows=3)
    whole = found.attribute("lrp", balance=True, return_layers=True)
    budgeted = rx.Explainer(found.model, found.x, memory_budget=120_000)
    parts = budgeted.attribute(found.x, found.construct.target, "lrp", balance=True, return_layers=True)
    assert_close(parts.values, whole.values, 1e-11)
    assert_close(parts.balance.stabiliser, whole.balance.stabiliser, 1e-9)
    for name, value in whole.layers.items():
        assert_close(parts.layers[name], value, 1e-10, name)


@pytest.mark.parametrize(("name", "expected"), [("guided_backprop", [[0.0, 6.0]]), ("deconvnet", [[0.0, 6.0]])])
def test_relu_rules_are_seeded_with_the_logit(name, expected):
    """f = 1 - 3 = -2: the seed is -2, so that at the ReLUs (-2, 6) arrives, of which the positive passes."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, -3.0]]))
    x = torch.ones(1, 2)
    assert rx.lrp(model, x, 0, composite=name).values.tolist() == expected
    assert rx.lrp(model, x, "all", composite=name).values.tolist() == [expected]


def test_overrides_come_first_and_a_function_is_a_composite():
    found = case("vgg")
    path = next(p for p, m in found.model.named_modules() if isinstance(m, nn.Conv2d))
    flat = found.attribute("lrp", composite="epsilon_plus", layer_rules={path: rules.Flat()})
    assert_close(flat.values, found.attribute("lrp", composite="epsilon_plus_flat").values, 1e-14)
    seen = []

    def choose(layer):
        seen.append(layer)
        return rules.Norm() if layer.kind in ("sum", "linear", "convolution") else rules.Pass()

    by_function = found.attribute("lrp", composite=choose)
    assert_close(by_function.values, found.attribute("lrp", composite="epsilon").values, 1e-14)
    assert sum(layer.first for layer in seen) == 1 and next(la for la in seen if la.first).path == path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"composite": "epsilon_plu"}, "Did you mean 'epsilon_plus'"),
        ({"composite": "epsilon_gamma_box"}, r"takes low \(required\), high"),
        ({"composite": 3}, "must be a name"),
        ({"composite": lambda layer: "epsilon"}, "must return a rule"),
        ({"layer_rules": {"nowhere": rules.Flat()}}, "paths of modules"),
        ({"layer_rules": {"0": "flat"}}, "must map to rules"),
        ({"fallback": "zero"}, "fallback must be"),
    ],
)
def test_wrong_arguments(options, says):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(rx.InvalidInput, match=says):
        rx.lrp(model, torch.randn(2, 3), 0, **options)


def test_a_node_without_a_rule_is_refused_or_walked_by_its_derivative():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    x = torch.randn(2, 3, dtype=torch.float64)
    with pytest.raises(rx.UnsupportedNode, match=r"layer_norm in module '1'.*no LRP rule"):
        rx.lrp(model, x, 0)
    expected = oracle.explain(model, (x,), oracle.composite("epsilon"), 0, fallback="gradient").values[0]
    assert_close(rx.lrp(model, x, 0, composite="epsilon", fallback="gradient").values, expected, 1e-10)


def test_dead_layers_and_zero_inputs_stay_finite():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[0].weight.fill_(-1.0)
        model[0].bias.zero_()
    for x in (torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)):
        for composite in COMPOSITES:
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                values = rx.lrp(model.to(dtype), x.to(dtype), 0, composite=composites(composite)[0]).values
                assert values.isfinite().all() and values.dtype == dtype, (composite, dtype)
        model.float()


def test_weights_that_change_are_noticed():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(2, 3)
    before = rx.lrp(model, x, 0, composite="epsilon_plus").values
    with torch.no_grad():
        model[2].weight.mul_(3)
        model[2].bias.mul_(3)
    assert_close(rx.lrp(model, x, 0, composite="epsilon_plus").values, 3 * before, 1e-5)
