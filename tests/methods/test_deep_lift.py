"""DeepLIFT against the formula, its completeness, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.relevance.deep_lift import steps
from tests.device import FAST_BACKENDS
from tests.oracles import deep_lift as oracle
from tests.oracles import gradient
from tests.oracles.test_deep_lift import Golden
from tests.relevance.cases import as_tuple, case
from tests.support import assert_close, assert_untouched, fingerprint
from tests.zoo import CONSTRUCTS, FUNCTIONAL

AGAINST_THE_FORMULA = (
    "relu_module relu_twice_on_same_tensor pool_reused relu6_functional hardtanh_uneven prelu_per_channel quotient "
    "gelu softmax_inside log_softmax_head layer_norm squeeze_excite transformer_encoder_layer conv1d_dilated "
    "conv3d_strided conv_transpose2d_grouped_bn resnet18 u_net max_pool1d_padded max_pool2d_ceil_mode_padded "
    "max_pool2d_dilated max_pool3d_27_taps max_pool2d_272_taps adaptive_max_pool2d_odd max_pool_beside_its_relu "
    "inplace_setitem concat image_and_vector unused_input matrix_output scalar_output"
).split()
# For these the oracle has no rule; they conserve all the same.
CONSERVE = (
    "glu group_norm instance_norm rms_norm normalize global_amax max_over_axis not_relu_maximum_of_two "
    "causal_attention multihead_attention_weights dynamic_filter einsum local_response_norm hand_written_hardswish "
    "frozen_norm batch_size_as_number densenet mobilenet_v3"
).split()
REFUSED = "detached_alias not_relu_gate_at_half not_relu_where_constant masked_fill gru spectrum".split()


def _rows(construct, count: int, seed: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, *s, generator=generator, dtype=dtype) for s in construct.shapes)


def _as_given(x: tuple[torch.Tensor, ...]):
    return x if len(x) > 1 else x[0]


@pytest.mark.parametrize("name", AGAINST_THE_FORMULA)
def test_against_the_formula(name):
    construct = CONSTRUCTS[name]
    x, base = (_rows(construct, 2, seed, torch.float64) for seed in (0, 1))
    expected = oracle.deep_lift(construct.oracle(FUNCTIONAL), x, base, construct.target)
    model = construct.model(torch.float64)
    for backend in ("reference", *FAST_BACKENDS):
        with rx.backend(backend):
            found = rx.deep_lift(
                model, _as_given(x), construct.target, baseline=_as_given(base), multiply_by_inputs=False
            )
            values = rx.deep_lift(model, _as_given(x), construct.target, baseline=_as_given(base)).values
        for i, m in enumerate(expected):
            assert_close(as_tuple(found.values)[i], m, 1e-11, f"multipliers of input {i}, {backend}")
            assert_close(as_tuple(values)[i], (x[i] - base[i]) * m, 1e-11, f"values of input {i}, {backend}")
    at_base = gradient.select(gradient.output(construct, base), construct.target)
    assert_close(found.base_value, at_base, 1e-11, "base value")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float32) for name in (*AGAINST_THE_FORMULA[::3], *CONSERVE)),
        *((n, torch.float64) for n in CONSERVE),
    ],
)
def test_completeness(name, dtype):
    construct = CONSTRUCTS[name]
    x, base = (_rows(construct, 3, seed, dtype) for seed in (2, 3))
    one_row = tuple(b[:1] for b in base)
    explainer = rx.Explainer(construct.model(dtype), _as_given(x))
    for baseline in (_as_given(base), _as_given(one_row)):
        result = explainer.attribute(_as_given(x), construct.target, "deep_lift", baseline=baseline)
        difference = gradient.select(result.output, construct.target) - result.base_value
        gap = sum(v.flatten(1).sum(1) for v in as_tuple(result.values)) - difference
        scale = result.output.abs().max() + result.base_value.abs().max()
        assert gap.abs().max() <= (1e-5 if dtype == torch.float32 else 1e-10) * scale
        assert_close(result.options["completeness_gap"] + difference, gap + difference, 1e-5)


@pytest.mark.parametrize("name", ["relu_module", "transformer_encoder_layer", "multihead_attention_weights", "u_net"])
def test_one_reference_for_all_rows(name):
    """A row that stands for all is run once where it can be: the same values as one for each row."""
    construct = CONSTRUCTS[name]
    x, (base, *more) = (_rows(construct, n, 4, torch.float64) for n in (3, 1))
    assert not more
    model = construct.model(torch.float64)
    for given in (base, base[0]):
        once = rx.deep_lift(model, x[0], construct.target, baseline=given)
        each = rx.deep_lift(model, x[0], construct.target, baseline=base.repeat(3, *[1] * (base.dim() - 1)))
        assert_close(once.values, each.values, 1e-12)
        assert_close(once.base_value, each.base_value, 1e-12)


def test_golden_net():
    result = rx.deep_lift(Golden(), torch.ones(1, 2).double())
    assert_close(result.values, torch.tensor([[0.625, 0.625]], dtype=torch.float64), 1e-15)
    assert result.base_value.tolist() == [0.0] and result.options["completeness_gap"].abs().max() < 1e-15


def test_without_a_difference_it_is_the_derivative():
    found = case("resnet18", torch.float64)
    same = found.attribute("deep_lift", baseline=found.x, multiply_by_inputs=False)
    assert_close(same.values, found.attribute("gradient").values, 1e-12)
    large = found.attribute("deep_lift", eps=1e9)
    assert_close(large.values, found.attribute("input_x_gradient").values, 1e-12)
    assert large.options["completeness_gap"].abs().max() > 1e-3  # and says so


@pytest.mark.parametrize("reduced", [lambda x: x.amax((2, 3)), lambda x: x.flatten(2).max(2).values])
def test_a_maximum_over_axes_is_a_pool(reduced):
    class Reduced(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.conv, self.function, self.head = nn.Conv2d(2, 4, 3), function, nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.function(self.conv(x)).flatten(1))

    torch.manual_seed(0)
    model = Reduced(reduced).double()
    pooled = Reduced(nn.MaxPool2d((4, 5))).double()
    pooled.load_state_dict(model.state_dict())
    x, base = torch.randn(2, 3, 2, 6, 7).double()
    assert_close(
        rx.deep_lift(model, x, 1, baseline=base).values, rx.deep_lift(pooled, x, 1, baseline=base).values, 1e-12
    )


def test_normalisations_are_what_they_are_written_as():
    """Group norm, by name and by hand: (x - mean) / sqrt(variance + eps)."""

    class Norm(nn.Module):
        def __init__(self, by_hand):
            super().__init__()
            self.conv, self.norm, self.by_hand = nn.Conv1d(2, 6, 3), nn.GroupNorm(3, 6), by_hand

        def forward(self, x):
            x = self.conv(x)
            if self.by_hand:
                groups = x.unflatten(1, (3, 2))
                variance, mean = torch.var_mean(groups, (2, 3), correction=0, keepdim=True)
                x = ((groups - mean) / (variance + self.norm.eps).sqrt()).flatten(1, 2)
                x = x * self.norm.weight[:, None] + self.norm.bias[:, None]
            else:
                x = self.norm(x)
            return torch.relu(x).sum(2)

    torch.manual_seed(0)
    model, written = Norm(False).double(), Norm(True).double()
    written.load_state_dict(model.state_dict())
    x, base = torch.randn(2, 3, 2, 9).double()
    found, expected = (rx.deep_lift(m, x, 4, baseline=base).values for m in (model, written))
    assert_close(found, expected, 1e-11)


def test_rows_are_independent():
    found = case("relu_module", torch.float64, 3)
    base = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    together = found.attribute("deep_lift", baseline=base).values
    for n in range(3):
        alone = found.explainer.attribute(found.x[n : n + 1], 1, "deep_lift", baseline=base[n]).values
        assert_close(alone, together[n : n + 1], 1e-12)


def test_infinite_scores_of_an_attention_mask():
    """A position that no query may look at takes no part, at x and at the reference."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(4, 12)
            self.register_buffer("mask", torch.tensor([True, True, False]))

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, 2)
            scores = (q @ k.transpose(1, 2)).masked_fill(~self.mask, float("-inf"))
            return (scores.softmax(2) @ v).sum((1, 2))

    model, x = Masked().double(), torch.randn(2, 3, 4).double()
    result = rx.deep_lift(model, x)
    assert result.values.isfinite().all() and result.options["completeness_gap"].abs().max() < 1e-13


def test_far_apart_softmax_scores():
    """Scores 2000 apart: exp of either would overflow."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(1))
    result = rx.deep_lift(model, torch.randn(2, 3) * 3000, target=1, baseline=torch.randn(3) * 3000)
    assert result.values.isfinite().all()


def test_validate_is_red_when_a_multiplier_is_wrong(monkeypatch):
    construct = CONSTRUCTS["max_pool2d_overlapping"]
    model, (x,) = construct.model(), _rows(construct, 2, 0, torch.float32)
    assert rx.validate(model, x, methods=["deep_lift"]).ok
    original = steps.multiplier

    def wrong(dy, dz, derivative, eps):
        return original(dy, dz, derivative, eps) * (1.001 if dy.dtype == torch.float32 else 1.0)

    monkeypatch.setattr(steps, "multiplier", wrong)
    assert not rx.validate(model, x, methods=["deep_lift"]).ok


@pytest.mark.parametrize("name", ["gru", "detached_alias"])
def test_validate_leaves_it_out_where_it_is_refused(name):
    construct = CONSTRUCTS[name]
    x = _as_given(_rows(construct, 2, 0, torch.float32))
    methods = {row.method for row in rx.validate(construct.model(), x).rows}
    assert "deep_lift" not in methods and "integrated_gradients" in methods


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused(name):
    construct = CONSTRUCTS[name]
    x = _as_given(_rows(construct, 2, 0, torch.float64))
    with pytest.raises(rx.UnsupportedNode, match="integrated_gradients") as raised:
        rx.deep_lift(construct.model(torch.float64), x, construct.target)
    assert raised.value.method == "deep_lift" and raised.value.op.startswith("aten.") and raised.value.source


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"eps": 0}, "eps"),
        ({"eps": -1.0}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": True}, "eps"),
        ({"multiply_by_inputs": 1}, "multiply_by_inputs"),
        ({"baseline": torch.zeros(5)}, "baseline"),
        ({"baseline": (0.0, 0.0)}, "baseline"),
        ({"baselines": 0.0}, "options"),
    ],
    ids=str,
)
def test_wrong_options(options, argument):
    found = case("relu_module", torch.float64)
    with pytest.raises(rx.InvalidInput) as raised:
        found.attribute("deep_lift", **options)
    assert raised.value.argument == argument


def test_only_reads_the_model():
    found = case("relu_module", torch.float32)
    before = fingerprint(found.model)
    x = found.x.clone().requires_grad_()
    result = rx.deep_lift(found.model, x, 1, baseline=torch.zeros_like(x).requires_grad_())
    assert_untouched(before, found.model)
    assert not result.values.requires_grad and not result.base_value.requires_grad and x.grad is None
