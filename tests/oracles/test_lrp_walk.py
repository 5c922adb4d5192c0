"""The whole walk: identities of methods.md 3.6 and 3.7, the gate form of 3.5, composites, starts and refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracles import gradient
from tests.oracles.lrp import COMPOSITES, Refused, composite, each, explain, explain_construct, record, rules
from tests.support import assert_close
from tests.zoo import CONSTRUCTS, FUNCTIONAL
from tests.zoo.registry import settle

RELU_NETS = ["relu_module", "vgg_bn", "resnet18", "resnet50", "densenet", "googlenet", "squeezenet", "shufflenet_v2"]
RELU_NETS += ["mnasnet", "regnet_x", "u_net", "tied_linear", "recurrent_loop", "image_and_vector"]


def rows(name: str, n: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    g = torch.Generator(torch.get_default_device()).manual_seed(seed)
    return tuple(torch.randn(n, *s, generator=g, dtype=torch.float64) for s in CONSTRUCTS[name].shapes)


def affine_everywhere(rule):
    """`rule` on every map that is not a maximum, batch norms and constants included."""

    def choose(node):
        return rule if node.linear is not None else composite("epsilon")(node)

    return choose


@pytest.mark.parametrize("name", RELU_NETS)
@pytest.mark.parametrize("fold", [True, False])
def test_rule_0_is_gradient_times_input(name, fold):
    found = explain_construct(CONSTRUCTS[name], rows(name), affine_everywhere(rules.Zero()), fold=fold)
    for value, expected in zip(found.values, gradient.input_x_gradient(CONSTRUCTS[name], rows(name)), strict=True):
        assert_close(value, expected, 1e-11, name)
    assert (found.balance <= 1e-12).all()


def test_rule_0_on_a_net_without_bias_sums_to_the_output():
    model = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model = settle(nn.Sequential(model, nn.Linear(20, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)), 0)
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    found = explain(model, (x,), each(rules.Zero()), 2)
    assert (found.error <= 1e-13 * found.output.abs()).all()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model.double()(leaf)[:, 2].sum(), leaf)
    assert_close(found.values[0], x * g, 1e-13)


def test_the_identity_fails_where_relu6_saturates():
    """methods.md 3.6: LRP passes relevance there, the gradient is 0."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU6())
    nn.init.constant_(model[0].weight, 2.0)
    found = explain(model, (torch.tensor([[5.0], [1.0]]),), each(rules.Zero()))
    assert found.values[0].flatten().tolist() == [6.0, 2.0]


CONSERVING = {
    "epsilon": rules.Epsilon(),
    "gamma": rules.Gamma(),
    "gamma_positive": rules.Gamma(form="positive_input", bias="kept"),
    "z_plus": rules.ZPlus(),
    "z_plus_kept": rules.ZPlus(bias="kept"),
    "alpha1_beta0": rules.AlphaBeta(1.0, 0.0),
    "w_square": rules.WSquare(),
    "flat": rules.Flat(),
    "z_box": rules.ZBox(-6.0, 9.0),
}


@pytest.mark.parametrize("rule", CONSERVING.values(), ids=CONSERVING)
@pytest.mark.parametrize("name", ["relu_module", "resnet18", "densenet", "u_net"])
def test_balance_closes(name, rule):
    """Input, bias and stabiliser together are the logit, node by node and in all."""
    found = explain_construct(CONSTRUCTS[name], rows(name), each(rule))
    assert (found.balance <= 1e-12).all()
    for node in found.nodes:
        parts = torch.stack([node.to_inputs, node.to_bias, node.to_stabiliser])
        scale = parts.abs().sum(0).clamp(min=1e-9) + node.relevance.flatten(1).abs().sum(1)
        assert ((parts.sum(0) - node.arriving).abs() <= 1e-12 * scale).all(), (node.path, node.op)
        assert (node.rest == 0).all()
    # The explained pixel of the U-net has no positive contribution: z⁺ gives it nothing to hand on.
    without = isinstance(rule, (rules.Flat, rules.ZBox)) or name == "u_net"
    assert without or (found.total("to_bias").abs() > 1e-3).all()


def without_shifts(model: nn.Module) -> nn.Module:
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            nn.init.zeros_(b)
    return model


@pytest.mark.parametrize("rule", ["epsilon", "epsilon_plus", "epsilon_plus_flat", "alpha1_beta0"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg_bn"])
def test_without_shifts_the_input_gets_the_logit(name, rule):
    found = explain(without_shifts(CONSTRUCTS[name].model()), rows(name), composite(rule), 1)
    assert (found.total("to_bias") == 0).all()
    assert ((found.input_sum + found.total("to_stabiliser") - found.output).abs() <= 1e-12 * found.output.abs()).all()
    # z⁺ gives nothing below a unit before an add to which every contribution is negative: that share is lost.
    assert (found.error <= 1e-4 * found.output.abs()).all() or rule != "epsilon"


def dense(seed: int, signed: bool = False) -> tuple[nn.Module, Tensor]:
    """conv, ReLU, average pool, conv, ReLU, linear, ReLU, linear on inputs that are not negative unless `signed`."""
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 3)),
    )
    x = torch.randn(
        1, 2, 6, 6, generator=torch.Generator(torch.get_default_device()).manual_seed(seed), dtype=torch.float64
    )
    return settle(model, seed), x if signed else x.abs()


def gate_walk(nodes, target: int, rule: str, epsilon: float, gamma: float = 0.25) -> Tensor:
    """methods.md 3.5 for a chain of maps with ReLUs: `R = a ⊙ c`, a soft gate for each ReLU."""
    chain = [n for n in nodes if n.kind in ("convolution", "linear")]
    c = torch.zeros(len(chain[-1].affine.bias), dtype=torch.float64)
    c[target] = 1.0

    def stable(v: Tensor) -> Tensor:
        return torch.where(v >= 0, v + epsilon, v - epsilon)

    for i, node in enumerate(reversed(nodes)):
        if node.kind == "activation":
            continue
        layer = node.affine
        z = layer.matrix @ layer.x + layer.bias
        if node.kind == "average":
            c = layer.matrix.T @ (c if rule == "0" else z / stable(z) * c)
            continue
        a = z if i == 0 else z.clamp(min=0)
        w_p, b_p = layer.matrix.clamp(min=0), layer.bias.clamp(min=0)
        if rule == "0":
            c = layer.matrix.T @ (c if i == 0 else (z > 0) * c)
        elif rule == "epsilon" or node.kind == "linear":
            c = layer.matrix.T @ (a / stable(z) * c)
        elif rule == "z_plus":
            c = w_p.T @ (a / (w_p @ layer.x + b_p + epsilon) * c)
        elif rule == "gamma":
            w = layer.matrix + gamma * w_p
            c = w.T @ (a / (w @ layer.x + layer.bias + gamma * b_p + epsilon) * c)
        else:
            plus = w_p @ layer.x + b_p
            minus = (layer.matrix - w_p) @ layer.x + layer.bias - b_p
            up, down = w_p.T @ (a / stable(plus) * c), (layer.matrix - w_p).T @ (a / stable(minus) * c)
            c = 2 * up - down
    return nodes[0].affine.x * c


GATES = {
    "0": each(rules.Zero()),
    "epsilon": each(rules.Epsilon(1e-3)),
    "z_plus": lambda node: rules.ZPlus(1e-3) if node.kind == "convolution" else each(rules.Epsilon(1e-3))(node),
    "gamma": lambda node: rules.Gamma(0.25, 1e-3) if node.kind == "convolution" else each(rules.Epsilon(1e-3))(node),
    "alpha2_beta1": lambda node: (
        rules.AlphaBeta(epsilon=1e-3) if node.kind == "convolution" else each(rules.Epsilon(1e-3))(node)
    ),
}


def pooled(chosen, epsilon: float):
    return lambda node: rules.Norm(epsilon) if node.kind == "average" else chosen(node)


@pytest.mark.parametrize("rule", GATES)
def test_gate_form_is_the_textbook_form(rule):
    for seed in range(3):
        model, x = dense(seed)
        epsilon = 0.0 if rule == "0" else 1e-3
        tape = record(model, (x,))
        found = explain(model, (x,), pooled(GATES[rule], epsilon), 1)
        expected = gate_walk(tape.nodes, 1, rule, epsilon).reshape(x.shape)
        assert_close(found.values[0], expected, 1e-12, f"{rule}, seed {seed}")


@pytest.mark.parametrize("rule", ["z_plus", "gamma", "alpha2_beta1"])
def test_the_one_sided_gate_form_is_wrong_on_signed_inputs(rule):
    """methods.md 3.5, 1: dropping the terms of x⁻ needs x >= 0."""
    model, x = dense(0, signed=True)
    found = explain(model, (x,), pooled(GATES[rule], 1e-3), 1)
    wrong = gate_walk(record(model, (x,)).nodes, 1, rule, 1e-3).reshape(x.shape)
    assert float((found.values[0] - wrong).abs().max()) > 1e-2 * float(found.values[0].abs().max())


def test_one_sided_gamma_is_wrong_before_a_residual_add():
    """methods.md 3.5, 2: a map that feeds an add needs both branches of z."""
    found = {}
    for form in ("generalised", "positive_input"):
        chosen = _on_convolutions(rules.Gamma(0.25, form=form))
        found[form] = explain_construct(CONSTRUCTS["resnet18"], rows("resnet18"), chosen).values[0]
    scale = float(found["generalised"].abs().max())
    assert float((found["generalised"] - found["positive_input"]).abs().max()) > 1e-2 * scale


def _on_convolutions(rule):
    """`rule` on convolutions, except the first, whose input is signed."""
    return lambda node: rule if node.kind == "convolution" and not node.first else composite("epsilon")(node)


@pytest.mark.parametrize("rule", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize("name", ["relu_module", "resnet18", "u_net", "relu6_module", "hardtanh", "mobilenet_v3"])
def test_gated_composites_are_the_gradient_oracle(name, rule):
    found = explain_construct(CONSTRUCTS[name], rows(name), composite(rule), seed=1.0, fallback="gradient")
    expected = gradient.attribute(CONSTRUCTS[name], rows(name), rule)[0]
    assert_close(found.values[0], expected, 1e-12, name)


def chosen_rules(name: str, which: str) -> list[tuple[str, str, object]]:
    arguments = {"low": -3.0, "high": 3.0} if which == "epsilon_gamma_box" else {}
    found = explain_construct(CONSTRUCTS[name], rows(name, 1), composite(which, **arguments))
    return [(n.path, n.kind, n.rule) for n in found.nodes]


_FIRST = {
    "epsilon_plus_flat": rules.Flat(),
    "epsilon_alpha2_beta1_flat": rules.Flat(),
    "epsilon_gamma_box": rules.ZBox(-3.0, 3.0),
}
_CONVOLUTION = {
    "epsilon": rules.Epsilon(),
    "alpha1_beta0": rules.AlphaBeta(1.0, 0.0),
    "epsilon_plus": rules.ZPlus(),
    "epsilon_plus_flat": rules.ZPlus(),
    "epsilon_alpha2_beta1": rules.AlphaBeta(2.0, 1.0),
    "epsilon_alpha2_beta1_flat": rules.AlphaBeta(2.0, 1.0),
    "epsilon_gamma_box": rules.Gamma(0.25),
    "excitation_backprop": rules.ZPlus(),
}


@pytest.mark.parametrize("which", _CONVOLUTION)
def test_composites_choose(which):
    linear = {"alpha1_beta0": rules.AlphaBeta(1.0, 0.0), "excitation_backprop": rules.ZPlus()}
    excitation = which == "excitation_backprop"
    expected = {
        "linear": linear.get(which, rules.Epsilon()),
        "activation": rules.Gate("gradient") if excitation else rules.Pass(),
        "max_pool": rules.Gradient() if excitation else rules.Winner(),
        "add": rules.Norm(),
        "average": rules.Norm(),
        "batch_norm": rules.Gradient() if excitation else rules.Pass(),
    }
    found = chosen_rules("resnet18", which) + chosen_rules("bn2d_before_conv", which)
    starts = {"conv1", "0.1"}  # the first convolution of each
    for path, kind, rule in found:
        if kind == "convolution":
            wanted = _FIRST.get(which, _CONVOLUTION[which]) if path in starts else _CONVOLUTION[which]
            assert rule == wanted, path
        else:
            assert rule == expected[kind], (path, kind)
    assert {kind for _, kind, _ in found} == set(expected) | {"convolution"}


def test_the_first_layer_of_flat_is_a_linear_map_too_but_not_of_the_box():
    by_rule = {which: chosen_rules("mlp", which) for which in ("epsilon_plus_flat", "epsilon_gamma_box")}
    assert by_rule["epsilon_plus_flat"][0] == ("fc1", "linear", rules.Flat())
    assert by_rule["epsilon_gamma_box"][0] == ("fc1", "linear", rules.Epsilon())


def test_unknown_composite():
    with pytest.raises(ValueError, match="unknown composite 'plus'"):
        composite("plus")
    assert len(COMPOSITES) == 11


def test_layer_rules_come_first():
    c = CONSTRUCTS["relu_module"]
    found = explain_construct(
        c, rows("relu_module"), composite("epsilon_plus_flat"), layer_rules={"conv1": rules.WSquare()}
    )
    assert found.node("conv1").rule == rules.WSquare() and found.node("conv2").rule == rules.ZPlus()
    with pytest.raises(ValueError, match=r"no node at \['bn'\]; folded"):
        explain_construct(c, rows("relu_module"), composite("epsilon"), layer_rules={"bn": rules.Pass()})
    unfolded = explain_construct(
        c, rows("relu_module"), composite("epsilon"), layer_rules={"bn": rules.Epsilon()}, fold=False
    )
    assert unfolded.node("bn").rule == rules.Epsilon() and (unfolded.node("bn").to_bias != 0).all()


def test_box_takes_tensors():
    c, x = CONSTRUCTS["vgg"], rows("vgg")
    low, high = torch.tensor([-3.0, -4.0, -5.0]).reshape(3, 1, 1), torch.tensor([5.0, 6.0, 7.0]).reshape(3, 1, 1)
    wide = explain_construct(c, x, composite("epsilon_gamma_box", low=low, high=high)).values[0]
    same = explain_construct(
        c, x, composite("epsilon_gamma_box", low=low.expand(1, 3, 12, 12), high=high.expand(3, 12, 12))
    ).values[0]
    narrow = explain_construct(c, x, composite("epsilon_gamma_box", low=-5.0, high=7.0)).values[0]
    assert torch.equal(wide, same) and not torch.allclose(wide, narrow)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmax_head", r"no rule for softmax \(other\) in module '3'"),
        ("squeeze_excite", r"no rule for mul \(product\) in module ''"),
        ("leaky_relu", r"no rule for leaky_relu \(other\) in module '0.1'"),
        ("hardtanh", r"no rule for hardtanh \(other\)"),
        ("group_norm", r"no rule for group_norm \(other\) in module '0.1'"),
    ],
)
def test_refusals_name_the_node(name, words):
    with pytest.raises(Refused, match=words):
        explain_construct(CONSTRUCTS[name], rows(name), composite("epsilon"))
    again = explain_construct(CONSTRUCTS[name], rows(name), composite("epsilon"), fallback="gradient")
    assert again.values[0].isfinite().all() and (again.values[0] != 0).any()
    assert (again.balance <= 1e-12).all() and (again.total("rest") != 0).all()


def test_products():
    c, x = CONSTRUCTS["squeeze_excite"], rows("squeeze_excite")
    signal = explain_construct(c, x, composite("epsilon"), product="signal")
    assert (signal.balance <= 1e-12).all() and signal.node("up").rule is None
    with pytest.raises(Refused, match="sigmoid"):
        explain_construct(c, x, composite("epsilon"), product="half")
    half = explain_construct(c, x, composite("epsilon"), product="half", fallback="gradient")
    assert not torch.allclose(half.values[0], signal.values[0])
    with pytest.raises(Refused, match="one operand must be a gate"):
        explain_construct(CONSTRUCTS["three_inputs"], rows("three_inputs"), composite("epsilon"), product="signal")


def test_what_no_relevance_reaches_needs_no_rule():
    class Side(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            F.gelu(x)
            return torch.cat([x, torch.tanh(x)], 1)

    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(explain(Side(), (x,), composite("epsilon"), 1).values[0][:, 1], x[:, 1])
    with pytest.raises(Refused, match="tanh"):
        explain(Side(), (x,), composite("epsilon"), 4)


def test_unused_inputs_get_zeros():
    found = explain_construct(CONSTRUCTS["unused_input"], rows("unused_input"), composite("epsilon_plus"))
    assert (found.values[1] == 0).all() and (found.values[0] != 0).any()


def test_relevance_at_layers():
    """What arrives at a layer's output is what the layers above have handed down."""
    found = explain_construct(CONSTRUCTS["relu_module"], rows("relu_module"), composite("epsilon"))
    paths = ["conv1", "conv2", "fc1", "fc2"]
    assert [found.node(p).relevance.shape for p in paths] == [(2, 4, 8, 8), (2, 6, 8 // 2, 4), (2, 8), (2, 4)]
    seed = torch.zeros(2, 4, dtype=torch.float64)
    seed[:, 1] = found.output
    assert torch.equal(found.node("fc2").relevance, seed)
    for below, above in (("fc1", "fc2"), ("conv2", "fc1")):
        assert_close(found.node(below).arriving, found.node(above).to_inputs, 1e-13, below)


def test_starting_inside():
    """From a neuron, and from a channel: the same as from an output that is this value."""
    c, x = CONSTRUCTS["relu_module"], rows("relu_module", 1)
    neuron = explain_construct(c, x, composite("epsilon_plus"), start=("conv2", (2, 1, 3)))
    model = c.oracle(FUNCTIONAL)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, v: Tensor) -> Tensor:
            return self.body.conv2(self.body.pool(F.relu(self.body.bn(self.body.conv1(v)))))

    expected = explain(Cut(), x, composite("epsilon_plus"), (2, 1, 3))
    assert torch.equal(neuron.values[0], expected.values[0]) and torch.equal(neuron.output, expected.output)
    channel = explain_construct(c, x, composite("epsilon_plus"), start=("conv2", (2,)))
    every = [explain(Cut(), x, composite("epsilon_plus"), (2, i, j)) for i in range(4) for j in range(4)]
    assert_close(channel.values[0], sum(e.values[0] for e in every), 1e-12)


def test_starting_inside_means_the_last_call():
    c, x = CONSTRUCTS["conv_in_sequence"], rows("conv_in_sequence", 1)
    found = explain_construct(c, x, composite("epsilon"), start=("conv", (0, 4, 4)))
    assert (found.node("conv", 1).arriving == found.output).all() and (found.node("conv", 0).relevance != 0).any()


def test_several_targets():
    c, x = CONSTRUCTS["relu_module"], rows("relu_module", 3)
    each_row = explain_construct(c, x, composite("epsilon_plus"), target=[0, 3, 1])
    tensor = explain_construct(c, x, composite("epsilon_plus"), target=torch.tensor([0, 3, 1]))
    assert torch.equal(each_row.values[0], tensor.values[0])
    for n, t in enumerate([0, 3, 1]):
        alone = explain_construct(c, (x[0][n : n + 1],), composite("epsilon_plus"), target=t)
        assert torch.equal(each_row.values[0][n], alone.values[0][0])
    assert_close(each_row.output, gradient.select(gradient.output(c, x), [0, 3, 1]), 1e-13)
