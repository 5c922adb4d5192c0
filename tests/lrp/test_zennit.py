"""The engine against Zennit, where it is installed: float64, to 1e-10 of scale."""

from __future__ import annotations

import pytest

import reluxfast as rx
from reluxfast import rules
from reluxfast.composites import by_kind
from tests import peers
from tests.support import assert_close


def _judge(model: str, composite, backend: str, theirs, name: str) -> None:
    x = peers.rows(model)
    with rx.backend(backend):
        found = rx.attribute(peers.built(peers.MODELS[model][0]), x, 1, "lrp", composite=composite)
    out, expected = theirs
    assert_close(found.output, out, 1e-13, "output")
    assert_close(found.values, expected, 1e-10, name)


@pytest.mark.parametrize("name", peers.COMPOSITES)
@pytest.mark.parametrize("model", peers.MODELS)
def test_composite(name, model, backend):
    arguments = peers.COMPOSITES[name][1]
    composite = rx.composite(name, **arguments) if arguments else name
    _judge(model, composite, backend, peers.by_composite(model, name), name)


RULES = {
    "epsilon": rules.Epsilon(0.01),
    "epsilon_no_bias": rules.Epsilon(bias="zero"),
    "zero": rules.Zero(),
    "gamma": rules.Gamma(0.5, epsilon=1e-3),
    "gamma_no_bias": rules.Gamma(bias="zero"),
    "z_plus": rules.ZPlus(epsilon=1e-3),
    "z_plus_no_bias": rules.ZPlus(bias="zero"),
    "alpha_beta": rules.AlphaBeta(1.5, 0.5),
    "alpha_beta_no_bias": rules.AlphaBeta(bias="zero"),
    "w_square": rules.WSquare(),
    "w_square_no_bias": rules.WSquare(bias="zero"),
    "flat": rules.Flat(),
    "z_box": rules.ZBox(-5.0, 6.0),
}


@pytest.mark.parametrize("name", peers.RULES)
@pytest.mark.parametrize("model", peers.MODELS)
def test_rule_everywhere(name, model, backend):
    """One rule on every convolution and linear map."""
    _judge(model, by_kind(RULES[name], RULES[name]), backend, peers.by_rule(model, name), name)
