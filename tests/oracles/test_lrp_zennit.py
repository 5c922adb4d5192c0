"""The LRP oracle against Zennit's composites, where it is installed: float64, to 1e-10 of scale."""

from __future__ import annotations

import pytest

from tests import peers
from tests.oracles.lrp import composite, each, explain, rules
from tests.support import assert_close


@pytest.mark.parametrize("name", peers.COMPOSITES)
@pytest.mark.parametrize("model", peers.MODELS)
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_composite(name, model, fold):
    out, expected = peers.by_composite(model, name, fold)
    ours = peers.built(peers.MODELS[model][0])
    arguments = peers.COMPOSITES[name][1]
    found = explain(ours, (peers.rows(model),), composite(name, **arguments), 1, fold=fold)
    assert_close(found.output, out[:, 1], 1e-13, "output")
    assert_close(found.values[0], expected, 1e-10, name)


RULES = {
    "epsilon": rules.Epsilon(0.01),
    "epsilon_no_bias": rules.Epsilon(bias="zero"),
    "zero": rules.Zero(),
    "gamma": rules.Gamma(0.5, 1e-3),
    "gamma_no_bias": rules.Gamma(bias="zero"),
    "z_plus": rules.ZPlus(1e-3),
    "z_plus_no_bias": rules.ZPlus(bias="zero"),
    "alpha_beta": rules.AlphaBeta(1.5, 0.5),
    "alpha_beta_no_bias": rules.AlphaBeta(bias="zero"),
    "w_square": rules.WSquare(),
    "w_square_no_bias": rules.WSquare(bias="zero"),
    "flat": rules.Flat(),
    "z_box": rules.ZBox(-5.0, 6.0),
}


@pytest.mark.parametrize("name", peers.RULES)
def test_rule_everywhere(name):
    """One rule on every convolution and linear map."""
    _, expected = peers.by_rule("preactivation", name, fold=False)
    ours = peers.built(peers.MODELS["preactivation"][0])
    found = explain(ours, (peers.rows("preactivation"),), each(RULES[name]), 1, fold=False)
    assert_close(found.values[0], expected, 1e-10, name)
