"""The rules' formulas: golden values of methods.md 3.2 and 3.8, and what each rule conserves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.oracles.lrp import rules
from tests.oracles.lrp.rules import Affine

W = [[3.0, -1.0], [1.0, 1.0]]
SETTINGS = {"A": ([1, 2], [0, 0], [1, 3]), "B": ([1, 2], [1, -1], [2, 2]), "C": ([1, -2], [0, 0], [5, -1])}
E = 0.0  # the table's limit ε → 0

# rule: values in the settings A, B and C; None where the table has none.
GOLDEN = {
    "0": (rules.Zero(), [4, 0], [4, 0], [4, 0]),
    "epsilon, ε=1": (rules.Epsilon(1.0), [2.25, 0.5], None, None),
    "γ=1, kept": (rules.Gamma(1.0, E, "kept", "positive_input"), [2.5, 1.5], [3.2, 0.8], [4.75, -0.75]),
    "γ=1, generalised": (rules.Gamma(1.0, E), [2.5, 1.5], [2.8, 14 / 15], [10 / 3, 2 / 3]),
    "z⁺, kept": (rules.ZPlus(E, "kept", "positive_input"), [2, 2], [2.5, 2], [6, -2]),
    "z⁺, transformed": (rules.ZPlus(E), [2, 2], [13 / 6, 4 / 3], [2, 2]),
    "α1β0": (rules.AlphaBeta(1.0, 0.0, E), [2, 2], [13 / 6, 4 / 3], [2, 2]),
    "α2β1": (rules.AlphaBeta(2.0, 1.0, E), [4, 3], [13 / 3, 2 / 3], [4, 5]),
    "w²": (rules.WSquare(E), [2.4, 1.6], [76 / 33, 28 / 33], [4, 0]),
    "flat": (rules.Flat(E), [2, 2], [2, 2], [2, 2]),
    "z^B": (rules.ZBox(0.0, 3.0, E), [1.75, 2.25], [13 / 6, 11 / 6], None),
    "SignAlpha 0": (rules.SignAlpha(0.0, E), [4 / 3, 8 / 3], None, None),
    "SignAlpha 1": (rules.SignAlpha(1.0, E), [8 / 3, 4], None, None),
    "SignAlpha 2": (rules.SignAlpha(2.0, E), [4, 16 / 3], None, None),
}
CASES = [
    pytest.param(rule, setting, values[i], id=f"{name} {setting}")
    for name, (rule, *values) in GOLDEN.items()
    for i, setting in enumerate(SETTINGS)
    if values[i] is not None
]


def layer(x, b, w=W, ones=None) -> Affine:
    w, x, b = (torch.tensor(v, dtype=torch.float64) for v in (w, x, b))
    return Affine(w, b, torch.ones_like(w) if ones is None else ones, x, tuple(x.shape))


def rows(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("rule", "setting", "expected"), CASES)
def test_golden(rule, setting, expected):
    x, b, r = SETTINGS[setting]
    share = rule.share(layer(x, b), rows(*r))
    assert share.inputs.tolist() == pytest.approx(expected, abs=1e-14)
    assert sum(r) == pytest.approx(float(share.inputs.sum()) + sum(share[1:]), abs=1e-14)


def test_the_seed_of_the_golden_table_is_the_output():
    for x, b, r in SETTINGS.values():
        at = layer(x, b)
        assert (at.matrix @ at.x + at.bias).tolist() == r


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 4.0), (1.0, 20 / 3), (2.0, 28 / 3)])
def test_sign_alpha_makes_relevance(alpha, expected):
    """methods.md 3.8: sums 4, 6.66667, 9.33333 for a seed of 4."""
    share = rules.SignAlpha(alpha, E).share(layer(*SETTINGS["A"][:2]), rows(*SETTINGS["A"][2]))
    assert float(share.inputs.sum()) == pytest.approx(expected)
    assert share.rest == pytest.approx(4 - expected)


def test_what_the_table_says_is_absorbed():
    """ε = 1 keeps 1.25 of 4 back; α2β1 makes 3 because the second neuron has no negative part."""
    absorbed = rules.Epsilon(1.0).share(layer(*SETTINGS["A"][:2]), rows(1, 3))
    assert (absorbed.stabiliser, absorbed.bias, absorbed.rest) == (1.25, 0.0, 0.0)
    # -β of the second neuron's 3 is what a denominator of 0 leaves behind.
    lost = rules.AlphaBeta(2.0, 1.0, E).share(layer(*SETTINGS["A"][:2]), rows(1, 3))
    assert (lost.stabiliser, lost.bias, lost.rest) == (-3.0, 0.0, 0.0)


def test_bias_relevance():
    """Setting B: LRP-0 gives the input 4 and the biases 1 and -1; z⁺ gives b⁺ = 1 of D = 4 its part of 2."""
    b = layer(*SETTINGS["B"][:2])
    assert rules.Zero().share(b, rows(2, 2)).bias == 0.0
    assert rules.ZPlus(E).share(b, rows(2, 0)).bias == pytest.approx(0.5)
    assert rules.ZPlus(E, "kept").share(b, rows(0, 2)).bias == pytest.approx(-1.0)
    assert rules.WSquare(E).share(b, rows(11, 0)).bias == pytest.approx(1.0)


BIAS = {
    # rule with bias "zero" on (x, b) is the rule on (x, 0)
    "epsilon": lambda mode: rules.Epsilon(0.1, mode),
    "z⁺": lambda mode: rules.ZPlus(0.1, mode),
    "z⁺ positive input": lambda mode: rules.ZPlus(0.1, mode, "positive_input"),
    "α2β1": lambda mode: rules.AlphaBeta(2.0, 1.0, 0.1, mode),
    "γ positive input": lambda mode: rules.Gamma(0.25, 0.1, mode, "positive_input"),
    "w²": lambda mode: rules.WSquare(0.1, mode),
    "flat": lambda mode: rules.Flat(0.1, mode),
    "z^B": lambda mode: rules.ZBox(-4.0, 4.0, 0.1, mode),
}
ALL = {name: make("transformed") for name, make in BIAS.items()} | {"γ": rules.Gamma(0.25, 0.1)}


def random_layer(seed: int = 0, m: int = 5, d: int = 7) -> tuple[Affine, Tensor]:
    g = torch.Generator(torch.get_default_device()).manual_seed(seed)
    w, b, x, r = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((m, d), (m,), (d,), (m,)))
    return Affine(w, b, torch.ones_like(w), x, (d,)), r


@pytest.mark.parametrize("name", BIAS)
def test_zero_bias_mode_drops_the_bias(name):
    at, r = random_layer()
    without = Affine(at.matrix, torch.zeros_like(at.bias), at.ones, at.x, at.shape)
    zero = BIAS[name]("zero").share(at, r)
    assert torch.equal(zero.inputs, BIAS[name]("kept").share(without, r).inputs)
    assert zero.bias == 0.0
    assert not torch.allclose(zero.inputs, BIAS[name]("kept").share(at, r).inputs)


def test_zero_bias_mode_of_gamma_keeps_the_branch_of_the_true_output():
    """z is taken with bias: z = 1 - 2 < 0 although W x = 1 > 0, so the negative branch distributes."""
    at = layer([1.0, 1.0], [-2.0], [[3.0, -2.0]])
    share = rules.Gamma(1.0, E, "zero").share(at, rows(-1.0))
    # W_n = [3, -4], D = 3 - 4 = -1, q = 1
    assert share.inputs.tolist() == [3.0, -4.0]


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_every_rule_accounts_for_its_relevance(rule):
    for seed in range(5):
        at, r = random_layer(seed)
        share = rule.share(at, r)
        # The terms are up to R / small denominators: rounding is relative to them, not to the sum.
        scale = float(share.inputs.abs().sum()) + abs(share.bias) + abs(share.stabiliser) + float(r.abs().sum())
        assert abs(float(r.sum() - share.inputs.sum()) - share.bias - share.stabiliser) <= 1e-14 * scale
        assert share.rest == 0.0


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_a_dead_map_is_finite(rule):
    """All inputs and parameters zero: nothing to distribute by, nothing divides by 0."""
    zero = layer([0.0, 0.0], [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]])
    for epsilon in (0.0, 1e-6):
        share = replace(rule, epsilon=epsilon).share(zero, rows(1.0, -2.0))
        assert share.inputs.isfinite().all()
        assert float(share.inputs.sum()) + share.bias + share.stabiliser == pytest.approx(-1.0)


def test_zero_counts_as_positive_in_the_stabiliser():
    assert rules.sign(torch.tensor([0.0, -0.0, 1e-300, -1e-300], dtype=torch.float64)).tolist() == [1, 1, 1, -1]
    q, absorbed = rules.quotient(rows(2.0, 2.0), torch.tensor([0.0, -0.0], dtype=torch.float64), 0.5)
    assert q.tolist() == [4.0, 4.0] and absorbed == 4.0


def test_alpha_beta_checks_its_parameters():
    for alpha, beta in ((2.0, 2.0), (0.5, -0.5), (-1.0, -2.0)):
        with pytest.raises(ValueError, match="alpha - beta = 1"):
            rules.AlphaBeta(alpha, beta)


def test_generalised_gamma_gives_nothing_at_zero():
    share = rules.Gamma(1.0).share(layer([1.0, 1.0], [0.0], [[1.0, -1.0]]), rows(5.0))
    assert share.inputs.tolist() == [0.0, 0.0] and share.rest == 0.0 and share.stabiliser == 5.0


def test_forms_agree_on_inputs_that_are_not_negative():
    at, r = random_layer()
    at = Affine(at.matrix, at.bias, at.ones, at.x.abs(), at.shape)
    assert torch.equal(rules.ZPlus().share(at, r).inputs, rules.ZPlus(form="positive_input").share(at, r).inputs)
    z = at.matrix @ at.x + at.bias
    positive = torch.where(z > 0, r, 0.0)
    one, two = (rules.Gamma(0.3, form=form).share(at, positive).inputs for form in ("generalised", "positive_input"))
    torch.testing.assert_close(one, two, rtol=1e-14, atol=0)


def test_limits_of_gamma():
    """γ = 0 is epsilon; γ → ∞ is z⁺ where z > 0 (generalised: on any input)."""
    at, r = random_layer()
    z = at.matrix @ at.x + at.bias
    epsilon = rules.Epsilon(1e-9).share(at, r).inputs
    torch.testing.assert_close(rules.Gamma(0.0, 1e-9).share(at, r).inputs, epsilon, rtol=1e-12, atol=1e-12)
    up = torch.where(z > 0, r, 0.0)
    plus, limit = rules.ZPlus(E).share(at, up).inputs, rules.Gamma(1e12, E).share(at, up).inputs
    torch.testing.assert_close(limit, plus, rtol=1e-10, atol=1e-10)


def test_flat_counts_only_what_is_read():
    ones = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    share = rules.Flat(E).share(layer([1.0, 2.0], [0.0, 0.0], ones=ones), rows(1.0, 4.0))
    assert share.inputs.tolist() == [3.0, 2.0]


def test_gates():
    z, g = rows(-1.0, 0.0, 1.0, 2.0, 7.0), rows(-1.0, 1.0, -1.0, 1.0, 1.0)
    expected = {
        "gradient": [0, 0, -1, 1, 0],
        "guided_backprop": [0, 0, 0, 1, 0],
        "deconvnet": [0, 1, 0, 1, 1],
    }
    for name, values in expected.items():
        assert rules.Gate(name).gated(z, g, 6.0).tolist() == values
    assert rules.Gate("gradient").gated(z, g, math.inf).tolist() == [0, 0, -1, 1, 1]
    assert rules.Gate("beta_smooth", 2.0).gated(rows(0.5), rows(-3.0), math.inf).item() == pytest.approx(
        -3.0 / (1 + math.exp(-1.0))
    )
