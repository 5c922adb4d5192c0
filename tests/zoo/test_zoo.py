"""The zoo judges the engine, so it is judged first: every model runs, and its oracle is the model it claims to be."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch

from tests import zoo
from tests.oracles import gradient
from tests.oracles.inputs import Margins, draw, inputs
from tests.oracles.rules import RULES, rule_kit
from tests.support import assert_close, assert_same_bits, relative_error
from tests.zoo import CONSTRUCTS, REFUSED


@pytest.fixture(params=CONSTRUCTS, ids=str)
def construct(request):
    return CONSTRUCTS[request.param]


def test_builds_and_runs(construct):
    """In both precisions, from the same parameters each time, with the training flag the construct asks for."""
    for dtype in (torch.float32, torch.float64):
        x = draw(construct, 3, dtype)
        model = construct.model(dtype)
        assert model.training == construct.training
        with torch.no_grad():
            out = model.eval()(*(v.clone() for v in x))
        assert out.dtype == dtype and out.shape[0] == 3 and out.isfinite().all()
        assert gradient.select(out, construct.target).shape == (3,)
    again = construct.model(torch.float64).state_dict()
    assert model.state_dict().keys() == again.keys()
    for key, value in model.state_dict().items():
        assert_same_bits(again[key], value, key)


def test_oracle_computes_the_same_function(construct):
    x = draw(construct, 3, torch.float64, seed=5)
    with torch.no_grad():
        expected = construct.model(torch.float64).eval()(*(v.clone() for v in x))
        assert_close(construct.oracle(rule_kit("gradient"))(*(v.clone() for v in x)), expected, 1e-13, "output")


def test_oracle_gradient_is_autograd(construct):
    """Where no pre-activation is exactly 0, every spelling's own gradient is the rule's."""
    x = inputs(construct, torch.float64)
    found = gradient.attribute(construct, x, "gradient")
    if "no_autograd" in construct.tags:
        with pytest.raises(RuntimeError, match=r"multiple views|inplace operation"):
            gradient.reverse(construct.model(torch.float64).eval(), x, construct.target)
        return
    for i, g in enumerate(gradient.reverse(construct.model(torch.float64).eval(), x, construct.target)):
        assert_close(found[i], g, 1e-13, f"input {i}")


def test_float32_suffices_under_the_same_masks(construct):
    """What the engine is asked for in float32 (1e-5 of scale) must be possible in float32 at all."""
    x = inputs(construct, torch.float32)
    for rule in RULES:
        expected = gradient.attribute(construct, x, rule)
        found = gradient.reverse(construct.oracle(rule_kit(rule), torch.float32), x, construct.target)
        for i, (f, e) in enumerate(zip(found, expected, strict=True)):
            assert_close(f, e, 5e-6, f"{rule} input {i}")


def test_rules_differ_where_there_is_a_relu():
    """A construct without any difference between the rules would test nothing."""
    same = []
    for name, construct in CONSTRUCTS.items():
        x = inputs(construct, torch.float64)
        g, guided, deconv = (gradient.attribute(construct, x, rule) for rule in RULES)
        if relative_error(guided[0], g[0]) < 1e-3 or relative_error(deconv[0], g[0]) < 1e-3:
            same.append(name)
    assert set(same) <= WITHOUT_RELU, sorted(set(same) - WITHOUT_RELU)


# No ReLU with a lower bound of 0: plain gradient in every rule.
WITHOUT_RELU = {
    "linear_only",
    "flatten_only",
    "pad_negative",
    "hardtanh",
    "hardtanh_inplace",
    "hardtanh_uneven",
    "clamp_both",
    "clamp_positive_floor",
    "clamp_max",
    "clamp_floor",
    "bn_after_cat",
}


def test_margins_see_each_kind_of_decision():
    x = torch.tensor([[[1.0, -1e-5, 3.0, 3.0 + 3e-5]]], dtype=torch.float64)
    relative = 1e-5 / (3.0 + 3e-5)
    for run, expected in (
        (torch.relu, relative),
        (lambda v: v.clamp(min=0), relative),
        (lambda v: v * (v > 0), relative),
        (torch.nn.functional.leaky_relu, relative),
        (lambda v: torch.nn.functional.max_pool1d(v, 2), relative * 3),
        (lambda v: torch.nn.functional.adaptive_max_pool1d(v, 1), relative * 3),
        (lambda v: v.amax(-1), relative * 3),
        (torch.nn.functional.hardswish, relative * 3),
        (rule_kit("guided_backprop").relu(), relative),
    ):
        with Margins() as margins:
            run(x.clone().requires_grad_() * 1.0)
        assert margins.smallest == pytest.approx(expected, rel=1e-9)


def test_exact_ties_are_safe():
    with Margins() as margins:
        torch.nn.functional.max_pool1d(torch.relu(torch.tensor([[[-1.0, -2.0, 0.0, 0.5]]])), 2)
    assert margins.smallest == pytest.approx(0.25)


def test_no_construct_is_lost():
    """Guards against a registration that is dropped by an edit of the zoo."""
    assert len(CONSTRUCTS) >= 440
    for tag, count in {
        "spelling": 50,
        "inplace": 18,
        "family": 20,
        "pool": 60,
        "bn": 35,
        "vjp": 40,
        "shape": 45,
    }.items():
        assert sum(tag in c.tags for c in CONSTRUCTS.values()) >= count, tag
    assert len(REFUSED) >= 17


@pytest.mark.parametrize("name", REFUSED)
def test_refused_models_are_real_models(name):
    """They run in eager torch, and the source line they are to be refused with exists."""
    refused = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = refused.build()
    model(torch.randn(2, *refused.shape))
    if refused.line:
        assert refused.line in inspect.getsource(zoo.refused)
