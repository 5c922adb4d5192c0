"""SmoothGrad against the formula, with the engine's own noise read off a model whose gradient is its input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.oracles import gradient, paths
from tests.oracles.rules import rule_kit
from tests.relevance.cases import as_tuple, case
from tests.support import assert_close, assert_same_bits
from tests.zoo import CONSTRUCTS


class _Probe(nn.Module):
    """½ Σ x²: the gradient at x + noise is x + noise."""

    def forward(self, *xs):
        return sum(0.5 * (x * x).flatten(1).sum(1) for x in xs)


def _noise(x: tuple[torch.Tensor, ...], n: int, **options) -> list[tuple[torch.Tensor, ...]]:
    """The n noise samples of a call, from differences of prefix means."""
    sums, found = [torch.zeros_like(v) for v in x], []
    for k in range(1, n + 1):
        mean = rx.smooth_grad(_Probe(), x if len(x) > 1 else x[0], n_samples=k, **options).values
        total = [m * k for m in as_tuple(mean)]
        found.append(tuple(t - s - v for t, s, v in zip(total, sums, x, strict=True)))
        sums = total
    return found


@pytest.mark.parametrize("reduce", ["mean", "square", "variance"])
@pytest.mark.parametrize("name", ["relu_module", "image_and_vector", "silu"])
def test_against_the_formula(name, reduce):
    found = case(name, torch.float64)
    noise = _noise(found.inputs, 5, seed=3, noise_level=0.2)
    model = found.construct.oracle(rule_kit("gradient"))
    walk = lambda at: gradient.reverse(model, at, found.construct.target)  # noqa: E731
    values, errors = paths.smooth_grad(walk, found.inputs, noise, reduce)
    result = found.attribute("smooth_grad", n_samples=5, seed=3, noise_level=0.2, reduce=reduce)
    # The probe's differences cost a few digits; a variance cancels some more.
    for v, e in zip(as_tuple(result.values), values, strict=True):
        assert_close(v, e, 1e-9, reduce)
    if reduce != "variance":
        for v, e in zip(as_tuple(result.standard_error), errors, strict=True):
            assert_close(v, e, 1e-9, f"standard error of {reduce}")


def test_noise_has_the_stated_distribution():
    """σ = noise_level (max - min) of each row; mean 0; rows, samples, seeds and inputs independent."""
    x = torch.randn(2, 4, 50, 50).double() * torch.tensor([1.0, 5.0]).reshape(2, 1, 1, 1)
    (a,), (b,) = _noise((x,), 2, noise_level=0.3)
    sigma = paths.noise_scale(x, 0.3)
    for sample in (a, b):
        z = (sample / sigma).flatten(1)
        # 10000 normal draws: mean within 5/√n, standard deviation within 5/√(2n), kurtosis within 5 √(24/n)
        assert z.mean(1).abs().max() < 5 / 100
        assert (z.std(1) - 1).abs().max() < 5 / 141
        assert ((z**4).mean(1) - 3).abs().max() < 5 * (24 / 10_000) ** 0.5
    za, zb = (a / sigma).flatten(1), (b / sigma).flatten(1)
    ((other,),) = _noise((x,), 1, noise_level=0.3, seed=1)
    for first, second in ((za[0], za[1]), (za[0], zb[0]), (za[0], (other / sigma).flatten(1)[0])):
        assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / 100
    ((one, two),) = _noise((x[:1], x[:1]), 1)
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1])) < 5 / 100


def test_samples_are_independent():
    x = torch.randn(1, 3, 40, 40).double()
    samples = torch.stack([s.flatten() for (s,) in _noise((x,), 6)])
    off_diagonal = torch.corrcoef(samples) - torch.eye(6).double()
    assert off_diagonal.abs().max() < 5 / 4800**0.5  # of 4800 normal draws each


def test_zero_noise_is_the_gradient():
    found = case("relu_module", torch.float64)
    result = found.attribute("smooth_grad", n_samples=3, noise_level=0.0)
    assert_close(result.values, found.attribute("gradient").values, 1e-15)
    assert float(result.standard_error.abs().max()) < 1e-8 * float(result.values.abs().max())
    constant = torch.full_like(found.x, 0.7)
    flat = found.explainer.attribute(constant, 1, "smooth_grad", n_samples=3)
    assert_close(flat.values, found.explainer.attribute(constant, 1, "gradient").values, 1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_same_seed_same_bits(dtype):
    """Whatever the memory budget; another seed gives other bits; torch's own generator is neither read nor moved."""
    construct = CONSTRUCTS["relu_module"]
    model, x = construct.model(dtype), torch.randn(3, 3, 8, 8).to(dtype)
    expected = rx.smooth_grad(model, x, target=1, n_samples=9, seed=5)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = rx.smooth_grad(model, x, target=1, n_samples=9, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_bits(again.values, expected.values, "again")
    for budget in (10_000_000, 60_000, 20_000):
        explainer = rx.Explainer(model, x, memory_budget=budget)
        budgeted = explainer.attribute(x, 1, "smooth_grad", n_samples=9, seed=5)
        assert_same_bits(budgeted.values, expected.values, f"budget {budget}")
        assert_same_bits(budgeted.standard_error, expected.standard_error, f"standard error, budget {budget}")
    assert not torch.equal(rx.smooth_grad(model, x, target=1, n_samples=9, seed=6).values, expected.values)


def test_standard_error_shrinks_like_the_square_root():
    found = case("silu", torch.float64)
    few = found.attribute("smooth_grad", n_samples=10).standard_error
    many = found.attribute("smooth_grad", n_samples=160).standard_error
    ratio = float(few.square().mean().sqrt() / many.square().mean().sqrt())
    assert 3.0 < ratio < 5.3  # 4, and the sampling error of ten draws


def test_one_sample_has_no_standard_error():
    found = case("relu_module", torch.float64)
    assert found.attribute("smooth_grad", n_samples=1).standard_error.isnan().all()
    assert found.attribute("smooth_grad", n_samples=3, reduce="variance").standard_error is None
    assert found.attribute("gradient").standard_error is None


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"n_samples": 0}, "n_samples"), ({"noise_level": -0.1}, "noise_level"), ({"reduce": "max"}, "reduce")]
    + [({"seed": seed}, "seed") for seed in (None, "a", 1.5, True)]
    + [({"noise_level": level}, "noise_level") for level in (float("inf"), float("nan"), True, "a")],
    ids=str,
)
def test_wrong_options(options, argument):
    with pytest.raises(rx.InvalidInput) as raised:
        case("relu_module", torch.float64).attribute("smooth_grad", **options)
    assert raised.value.argument == argument
