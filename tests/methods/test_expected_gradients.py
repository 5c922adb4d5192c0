"""Expected gradients against a quadrature in float64, and what sampling must keep."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import t as student
from torch import nn

import reluxfast as rx
from tests.oracles import gradient, paths
from tests.oracles.rules import rule_kit
from tests.relevance.cases import as_tuple, case
from tests.support import assert_close, assert_same_bits, assert_untouched, fingerprint


def background(x: tuple[torch.Tensor, ...], count: int) -> tuple[torch.Tensor, ...]:
    """Rows of the same shapes as x."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(7)
    return tuple(torch.randn(count, *v.shape[1:], generator=generator, dtype=v.dtype) for v in x)


def within_errors(values: torch.Tensor, errors: torch.Tensor, expected: torch.Tensor, samples: int) -> None:
    """No deviation beyond the t quantile that 1 in 1000 sets of as many comparisons exceeds; errors are not idle."""
    z = (values - expected).abs() / (errors + 1e-12 * expected.abs().max())
    assert 0.1 < float(z.max()) < student.ppf(1 - 0.001 / (2 * z.numel()), samples - 1)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("name", ["relu_module", "image_and_vector", "silu", "resnet18"])
def test_against_the_quadrature(name, rows):
    found = case(name, torch.float64)
    b = background(found.inputs, rows)
    model = found.construct.oracle(rule_kit("gradient"))
    walk = lambda at: gradient.reverse(model, at, found.construct.target)  # noqa: E731
    expected = paths.expected_gradients(walk, found.inputs, b, 200 if rows == 1 else 60)
    result = found.attribute("expected_gradients", baselines=b if len(b) > 1 else b[0], n_samples=400, seed=2)
    for v, s, e in zip(as_tuple(result.values), as_tuple(result.standard_error), expected, strict=True):
        assert v.shape == e.shape and v.dtype == torch.float64
        within_errors(v, s, e, 400)


def test_complete_in_expectation():
    """The sum misses f(x) - base_value by what sampling leaves, which shrinks like the root of the samples."""
    found = case("relu_module", torch.float64)
    b = background(found.inputs, 8)[0]
    gaps = {}
    for n in (20, 20 * 64):
        results = [found.attribute("expected_gradients", baselines=b, n_samples=n, seed=s) for s in range(8)]
        gaps[n] = torch.stack([r.options["completeness_gap"] for r in results])
        for r in results:
            total = r.values.flatten(1).sum(1)
            target = found.construct.target
            assert_close(total - (r.output[:, target] - r.base_value), r.options["completeness_gap"], 1e-9)
    assert 3 < float(gaps[20].square().mean().sqrt() / gaps[20 * 64].square().mean().sqrt()) < 20  # 8, with 16 draws
    z = gaps[1280].mean(0) / (gaps[1280].std(0) / math.sqrt(8))
    assert float(z.abs().max()) < student.ppf(1 - 0.001 / 4, 7)
    expected = found.model(b)[:, found.construct.target].mean()
    assert_close(results[0].base_value, expected.expand(2).detach(), 1e-12)


def test_linear_models_are_exact():
    model = nn.Linear(6, 3).double()
    x, b = torch.randn(4, 6).double(), torch.randn(5, 6).double()
    single = rx.expected_gradients(model, x, target=1, baselines=b[0], n_samples=3)
    assert_close(single.values, (x - b[0]) * model.weight[1].detach(), 1e-13)
    assert float(single.standard_error.abs().max()) < 1e-13
    # Every background row as often as the others.
    whole = rx.expected_gradients(model, x, target="all", baselines=b, n_samples=10)
    expected = (x[:, None] - b.mean(0)) * model.weight.detach()
    assert_close(whole.values, expected, 1e-13)
    assert float(whole.options["completeness_gap"].abs().max()) < 1e-12


def test_zeros_are_the_background_if_none_is_given():
    found = case("relu_module", torch.float64)
    result = found.attribute("expected_gradients", n_samples=5)
    zeros = torch.zeros_like(found.x[:1])
    assert_same_bits(found.attribute("expected_gradients", baselines=zeros, n_samples=5).values, result.values)
    assert_same_bits(
        found.attribute("expected_gradients", baselines=zeros[0].cpu().numpy(), n_samples=5).values, result.values
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_same_seed_same_bits(dtype):
    """Whatever the budget; another seed gives others; torch's own generator is neither read nor moved."""
    found = case("relu_module", dtype, 3)
    b = background(found.inputs, 4)[0]
    options = {"baselines": b, "n_samples": 9, "seed": 5}
    expected = rx.expected_gradients(found.model, found.x, target=1, **options)
    state = torch.get_rng_state()
    again = rx.expected_gradients(found.model, found.x, target=1, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_bits(again.values, expected.values)
    for budget in (10_000_000, 60_000, 20_000):
        explainer = rx.Explainer(found.model, found.x, memory_budget=budget)
        budgeted = explainer.attribute(found.x, 1, "expected_gradients", **options)
        assert_same_bits(budgeted.values, expected.values, f"budget {budget}")
        assert_same_bits(budgeted.standard_error, expected.standard_error, f"standard error, budget {budget}")
    other = rx.expected_gradients(found.model, found.x, target=1, **{**options, "seed": 6})
    assert not torch.equal(other.values, expected.values)


def test_rows_and_samples_are_independent():
    """½ Σ x² from 0: a sample's values are t x², so that t can be read off."""

    x = torch.ones(400, 2).double()
    first = rx.expected_gradients(_Half(), x, n_samples=1).values
    both = rx.expected_gradients(_Half(), x, n_samples=2).values
    t = torch.stack([first[:, 0], (2 * both - first)[:, 0]])
    assert torch.equal(first[:, 0], first[:, 1])
    assert float(t.min()) > 0 and float(t.max()) < 1
    # 800 uniform draws: mean within 5 standard errors, as are the quarters' shares.
    assert abs(float(t.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / 800)
    assert all(abs(float(((t >= q / 4) & (t < (q + 1) / 4)).double().mean()) - 0.25) < 0.077 for q in range(4))
    assert abs(float(torch.corrcoef(t)[0, 1])) < 5 / 20
    assert abs(float(torch.corrcoef(torch.stack([t[0, :-1], t[0, 1:]]))[0, 1])) < 5 / 20


def test_smoothing_moves_the_ends_of_paths():
    model, x = nn.Linear(3, 1).double(), torch.randn(2, 3).double()
    one = rx.expected_gradients(model, x, n_samples=1, local_smoothing=0.5)
    noise = one.values / model.weight.detach() - x
    assert 0.05 < float(noise.abs().mean()) < 1.5
    many = rx.expected_gradients(model, x, n_samples=400, local_smoothing=0.5)
    within_errors(many.values, many.standard_error, x * model.weight.detach(), 400)
    ratio = many.standard_error / (0.5 * model.weight.detach().abs() / 20)
    assert float((ratio - 1).abs().max()) < 0.2  # of 400 draws: 5 / √(2 · 400)


@pytest.mark.parametrize("target", [1, "all"], ids=str)
def test_what_a_layer_takes(target):
    """Activation times gradient there, at the same points: read off a model that begins at the layer."""
    first = nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double()
    rest = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    model, x, b = nn.Sequential(first, rest), torch.randn(2, 4).double(), torch.randn(3, 4).double()
    expected = []
    for n in (1, 2, 3, 4):
        # A linear model's values at one sample are x - b; those of ½ Σ x² are (x - b) ⊙ point.
        delta, product = (
            n * rx.expected_gradients(f, x, baselines=b, n_samples=n, seed=3).values for f in (_Sum(), _Half())
        )
        expected.append((delta, product))
    zero = torch.zeros_like(x)
    points = [(p - q) / (d - e) for (d, p), (e, q) in zip(expected, [(zero, zero), *expected[:-1]], strict=True)]
    samples = torch.stack([_times_gradient(rest, first(p).detach(), target) for p in points])
    for layer in (rest, "1.0", rest[0]):
        found = rx.expected_gradients(model, x, target, baselines=b, n_samples=4, seed=3, layer_input=layer)
        assert_close(found.values, samples.mean(0), 1e-10)
        assert_close(found.standard_error, samples.std(0) / 2, 1e-9)
    assert "completeness_gap" not in found.options
    whole = rx.expected_gradients(model, x, target, baselines=b, n_samples=4, seed=3, layer_input=first)
    samples = torch.stack([_times_gradient(model, p, target) for p in points])
    assert_close(whole.values, samples.mean(0), 1e-10)


class _Sum(nn.Module):
    def forward(self, x):
        return x.sum(1)


class _Half(nn.Module):
    def forward(self, x):
        return 0.5 * (x * x).sum(1)


def _times_gradient(model: nn.Module, at: torch.Tensor, target: int | str) -> torch.Tensor:
    """at ⊙ ∇f at these rows."""
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda v: model(v[None])[0], row) for row in at])
    return at[:, None] * jacobian if target == "all" else at * jacobian[:, target]


def test_a_layer_of_several_values_is_refused():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.sum = nn.Linear(3, 2), nn.Linear(3, 2), Sum()

        def forward(self, x):
            return self.sum(self.a(x).relu(), self.b(x).relu())

    with pytest.raises(rx.InvalidInput, match="layer_input must take one value, got 2"):
        rx.expected_gradients(Model(), torch.randn(2, 3), target=0, layer_input="sum")


def test_the_model_is_only_read():
    found = case("relu_module", torch.float32)
    before = fingerprint(found.model)
    result = rx.expected_gradients(found.model, found.x, target=1, n_samples=4)
    assert_untouched(before, found.model)
    assert not result.values.requires_grad and result.values.dtype == torch.float32


def test_no_rows():
    found = case("relu_module", torch.float64)
    result = rx.expected_gradients(found.model, found.x[:0], target=1, n_samples=4)
    assert result.values.shape == (0, 3, 8, 8) and result.standard_error.shape == (0, 3, 8, 8)


def test_one_sample_has_no_standard_error():
    found = case("relu_module", torch.float64)
    assert found.attribute("expected_gradients", n_samples=1).standard_error.isnan().all()


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"n_samples": 0}, "n_samples"),
        ({"n_samples": None}, "n_samples"),
        ({"seed": 1.5}, "seed"),
        ({"local_smoothing": -1.0}, "local_smoothing"),
        ({"local_smoothing": math.nan}, "local_smoothing"),
        ({"baselines": torch.zeros(2, 3, 8, 7)}, "baselines"),
        ({"baselines": torch.zeros(0, 3, 8, 8)}, "baselines"),
        ({"baselines": "mean"}, "baselines"),
        ({"baselines": (torch.zeros(3, 8, 8),) * 2}, "baselines"),
    ],
    ids=str,
)
def test_wrong_options(options, argument):
    with pytest.raises(rx.InvalidInput) as raised:
        case("relu_module", torch.float64).attribute("expected_gradients", **options)
    assert raised.value.argument == argument


def test_rows_of_several_inputs_belong_together():
    found = case("image_and_vector", torch.float64)
    image, vector = background(found.inputs, 3)
    with pytest.raises(rx.InvalidInput, match=r"baselines must have as many rows for every input, got \[3, 2\]"):
        found.attribute("expected_gradients", baselines=(image, vector[:2]))
