"""The LRP oracle on every construct of the zoo that has a rule for each node, and on random networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import gradient
from tests.oracles.lrp import Recording, Refused, composite, record_construct, recording, rules
from tests.support import assert_close
from tests.zoo import CONSTRUCTS, MODULES
from tests.zoo.random_nets import SIZE, STEPS, RandomNet, Recipe
from tests.zoo.registry import settle

# 28x28 inputs make matrices of 60 MB each; the same modules appear in smaller constructs.
LARGE = {"two_conv_functional", "two_conv_modules"}
SPELLED = {name for name, c in CONSTRUCTS.items() if "spelling" in c.tags}  # the oracle builds one network for all
NAMES = [name for name in CONSTRUCTS if name not in LARGE | SPELLED]
# Products and quotients of activations, attention, normalisations by the data, activations that are no ReLU.
REFUSED = {
    *(name for name, c in CONSTRUCTS.items() if "vjp" in c.tags and name not in ("relu_head", "dropout_head")),
    *("hardtanh", "hardtanh_inplace", "hardtanh_uneven", "clamp_both", "clamp_positive_floor", "clamp_max"),
    *("clamp_floor", "hand_written_hardswish", "squeeze_excite", "spectrum", "randomised_leaky_in_eval"),
    *("written_attention", "scaled_dot_product", "causal_attention", "multihead_attention", "gru"),
    *("multihead_attention_weights", "transformer_encoder_layer", "dynamic_filter", "mobilenet_v3", "efficientnet"),
    *("regnet_y", "detached_alias", "three_inputs", "lp_pool2d", "cumsum", "einsum", "masked_fill"),
} - {"identity_head"}
SATURATED = {"relu6_module", "relu6_inplace", "relu6_functional", "relu6_clamp", "relu6_hardtanh", "hardtanh_from_zero"}
SATURATED |= {"mobilenet_v2"}
# Complex values, and fused operations for inference, which have no derivative.
WITHOUT_FALLBACK = {"spectrum", "multihead_attention", "transformer_encoder_layer"}
COMPOSITES = ("epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "excitation_backprop")


def rows(name: str) -> tuple[Tensor, ...]:
    g = torch.Generator(torch.get_default_device()).manual_seed(7)
    return tuple(torch.randn(1, *s, generator=g, dtype=torch.float64) for s in CONSTRUCTS[name].shapes)


def check(tapes: Recording, x: tuple[Tensor, ...], target, **options) -> None:
    """Finite everywhere, of the input's shape, and closed, under several composites."""
    for name in COMPOSITES:
        found = tapes.explain(composite(name), target, **options)
        for v, value in zip(x, found.values, strict=True):
            assert value.shape == v.shape and value.dtype == torch.float64 and value.isfinite().all(), name
        for node in found.nodes:
            assert node.relevance.isfinite().all(), (name, node.path)
        assert (found.balance <= 1e-12).all(), name
        conserving = name != "excitation_backprop" and not options
        assert not conserving or (found.total("rest") == 0).all(), name


def rule_0(node):
    return rules.Zero() if node.linear is not None else composite("epsilon")(node)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NAMES)
def test_construct(name):
    construct, x = CONSTRUCTS[name], rows(name)
    tapes = record_construct(construct, x)
    for node in tapes.tapes[0].nodes:
        if node.linear is not None:
            value = (node.affine.matrix @ node.affine.x + node.affine.bias).reshape(node.output.shape)
            assert_close(value, node.output, 1e-12, f"the matrix of {node}")
        if node.kind != "other":
            assert_close(node.function(*node.inputs), node.output, 1e-12, f"the function of {node}")
    if name in REFUSED:
        with pytest.raises(Refused, match="no rule for"):
            tapes.explain(composite("epsilon"), construct.target)
        if name not in WITHOUT_FALLBACK:
            check(tapes, x, construct.target, fallback="gradient")
        return
    check(tapes, x, construct.target)
    found = tapes.explain(rule_0, construct.target)
    errors = [
        float((value - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
        for value, expected in zip(found.values, gradient.input_x_gradient(construct, x), strict=True)
    ]
    # LRP passes relevance through a saturated ReLU6, where the gradient is 0 (methods.md 3.6).
    assert max(errors) > 1e-2 if name in SATURATED else max(errors) <= 1e-11


RECIPES = st.builds(
    Recipe,
    st.lists(st.sampled_from([s for s in STEPS if s not in ("gate", "relu6")]), min_size=1, max_size=5).map(tuple),
    st.sampled_from(["flatten", "mean"]),
    st.integers(0, 1000),
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(RECIPES)
def test_random_networks(recipe):
    model = settle(RandomNet(recipe, MODULES), recipe.seed)
    g = torch.Generator(torch.get_default_device()).manual_seed(recipe.seed)
    x = (torch.randn(1, 3, SIZE, SIZE, generator=g, dtype=torch.float64),)
    tapes = recording(model, x)
    check(tapes, x, 1)
    leaf = x[0].clone().requires_grad_()
    (grad,) = torch.autograd.grad(model.double().eval()(leaf)[0, 1], leaf)
    assert_close(tapes.explain(rule_0, 1).values[0], x[0] * grad, 1e-10, str(recipe))


def test_gated_random_network():
    """A squeeze-excite gate: refused, or all relevance to the signal."""
    model = settle(RandomNet(Recipe(("conv_bn_relu", "gate", "relu6"), "mean", 3), MODULES), 3)
    x = (torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64),)
    tapes = recording(model, x)
    with pytest.raises(Refused, match="product"):
        tapes.explain(composite("epsilon"), 1)
    check(tapes, x, 1, product="signal")
