"""Functions that answer for the batch, in numbers of their own, or with what else is in it; odd inputs."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn

from reluxfast.captured import captured
from reluxfast.compat.captum import perturbation as ours
from reluxfast.compat.captum.perturbation import rows as of_rows
from reluxfast.errors import InvalidInput
from tests.compat.captum.models import built, case, rows, shared
from tests.compat.captum.parity import agree, both, same_error
from tests.compat.captum.perturbed import FITTED, MASKED, SMALL, Tokens, same

FEW = torch.tensor([[0, 0, 1, 2, 2, 3, 1]])


def given(kind):
    return {"sliding_window_shapes": (3,)} if kind is ours.Occlusion else {"feature_mask": FEW}


@pytest.mark.parametrize("rows_given", [1, 3])
@pytest.mark.parametrize("form", ["scalar", "one", "float"])
@pytest.mark.parametrize("kind", SMALL)
def test_one_number_for_the_batch(kind, form, rows_given):
    model, (x,) = case("mlp", rows_given)
    forms = {"scalar": lambda v: v, "one": lambda v: v.view(1), "float": float}
    found = same(kind, lambda b: forms[form](model(b)[:, 1].square().sum()), x, **given(kind))
    assert found.shape == (1, 7)


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling, ours.Occlusion])
def test_several_numbers_for_the_batch(kind):
    model, (x,) = case("mlp")
    assert same(kind, lambda b: model(b).square().sum(0), x, **given(kind)).shape == (4, 7)
    same(kind, lambda b: model(b).square().sum(0, keepdim=True), x, target=2, **given(kind))


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling, ours.ShapleyValues, ours.Occlusion])
def test_outputs_that_depend_on_the_batch(kind):
    model, (x,) = case("mlp")
    same(kind, lambda b: torch.softmax(model(b), 0), x, target=[0, 2, 1], **given(kind))
    same(kind, lambda b: model(b.view(3, 7)), x, target=1, **given(kind))


@pytest.mark.parametrize("kind", SMALL)
def test_further_arguments_where_the_batch_is_explained(kind):
    model, x = case("two_inputs")

    def loss(image: Tensor, vector: Tensor, weights: Tensor, power: float) -> Tensor:
        return (model(image, vector)[:, 1] * weights).sum() ** power

    masks = (torch.zeros(1, 2, 6, 5, dtype=torch.int64), torch.tensor([[1, 2, 2, 0, 3]]))
    few = {"feature_mask": masks} if kind is not ours.Occlusion else {"sliding_window_shapes": ((2, 3, 3), (2,))}
    same(kind, loss, x, additional_forward_args=(torch.tensor([1.0, 2.0, -1.0]), 2), baselines=(x[0] * 0.5, 0.1), **few)


def test_masks_of_rows_mean_nothing_for_a_number_of_the_batch():
    model, (x,) = case("mlp")
    masks = torch.arange(7).expand(3, -1) % torch.tensor([[2], [3], [4]])
    for kind in (ours.ShapleyValueSampling, ours.ShapleyValues):
        same_error(kind, lambda b: model(b).sum(), x, feature_mask=masks)
    for kind in (ours.FeatureAblation, *FITTED):
        with pytest.raises(InvalidInput, match="feature_mask must be the same for each example"):
            kind(lambda b: model(b).sum()).attribute(x, feature_mask=masks)


def test_several_batches_at_once_need_a_number_for_each_example():
    model, (x,) = case("mlp")
    for kind in SMALL:
        error = same_error(kind, lambda b: model(b).sum(), x, perturbations_per_eval=2, **given(kind))
        assert "perturbations_per_eval must be 1" in str(error)


@pytest.mark.parametrize("kind", FITTED)
def test_fits_need_one_number(kind):
    model, (x,) = case("mlp")
    assert "Pass a target" in str(same_error(kind, model, x))
    same_error(kind, lambda b: model(b), x)


def test_what_is_no_number():
    _, (x,) = case("mlp")
    for kind in (ours.FeatureAblation, ours.ShapleyValueSampling):
        assert "must return a Tensor" in str(same_error(kind, lambda b: "much", x))


@pytest.mark.parametrize("kind", SMALL)
def test_not_a_number_is_an_error(kind):
    _, (x,) = case("mlp")
    with pytest.raises(Exception, match="f must return finite numbers, got nan"):
        kind(lambda b: (b - 100).log().sum(1)).attribute(x, **given(kind))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling])
def test_inputs_come_in_their_dtypes(kind, dtype):
    x = (torch.arange(21).view(3, 7) % 5).to(dtype)
    seen = set()

    def f(batch: Tensor) -> Tensor:
        seen.add(batch.dtype)
        return (batch.double() * torch.arange(1.0, 8)).sum(1).sin()

    found = kind(f).attribute(x, **SMALL[kind])
    assert seen == {dtype} and found.dtype == (torch.float64 if kind is ours.FeatureAblation else torch.float32)
    same(kind, f, x)


def test_large_integers_are_exact():
    x = torch.tensor([[2**52 + 1, 7], [2**40 + 3, 9]])

    def f(batch: Tensor) -> Tensor:
        assert {int(v) for v in batch.flatten()} <= {2**52 + 1, 2**40 + 3, 7, 9, 0}
        return (batch % 1000).double().sum(1)

    agree(ours.FeatureAblation(f).attribute(x), (x % 1000).double())
    with pytest.raises(InvalidInput, match=r"inputs must hold integers of at most 2\*\*53"):
        ours.FeatureAblation(f).attribute(x * 8)


def test_fractions_among_integers():
    """A baseline that an integer cannot be is no other one: values are handed on as floating point."""
    x = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = ours.ShapleyValueSampling(lambda b: b.sum(1).double()).attribute(x, baselines=0.5, n_samples=2)
    agree(found, x.float() - 0.5)
    same(ours.FeatureAblation, lambda b: b.float().sum(1), x, baselines=0.5)


def test_a_module_in_training_mode_is_explained_as_in_eval_mode():
    model = nn.Sequential(nn.Flatten(), nn.Linear(7, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 3))
    (x,) = rows(((7,),))
    tokens, text = torch.randint(0, 50, (3, 4)), Tokens()
    text.head = nn.Sequential(nn.Dropout(), nn.Linear(8, 3))
    for f, inputs in ((model, x), (text, tokens)):
        expected = ours.FeatureAblation(f.eval()).attribute(inputs, target=1)
        agree(ours.FeatureAblation(f.train()).attribute(inputs, target=1), expected)
        assert all(m.training for m in f.modules())


def test_bound_forward_is_the_module():
    model, (x,) = case("mlp")
    agree(*(ours.FeatureAblation(f).attribute(x, target=1) for f in (model.forward, model)))


def test_modules_that_cannot_be_captured(monkeypatch):
    """They are run as they are, and looked at once."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            rows = [self.linear(row) * (2 if float(row.sum()) > 0 else 1) for row in x]
            return torch.stack(rows)

    for kind in MASKED:
        same(kind, shared(Branches), *rows(((7,),)), target=[0, 2, 1], feature_mask=FEW)
    model, tried = built(Branches), []

    def counted(*arguments):
        tried.append(arguments)
        return captured(*arguments)

    monkeypatch.setattr(of_rows, "captured", counted)
    for _ in range(3):
        ours.FeatureAblation(model).attribute(*rows(((7,),)), target=1)
    assert len(tried) == 1 and id(model) in of_rows._refused
    number = id(model)
    del model
    tried.clear()
    gc.collect()
    assert number not in of_rows._refused


def test_a_function_is_given_no_more_than_is_asked():
    model, (x,) = case("mlp")
    sizes = []

    def f(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return model(batch)

    ours.FeatureAblation(f).attribute(x, target=1)
    # To see what it returns; x and the baseline; every feature away.
    assert sizes == [3, 4, 4, 21]


def test_features_as_in_the_baseline_get_nothing():
    model, (x,) = case("cnn", 2)
    x[:, :, :, 4:] = 0.25
    for f in (model, lambda b: model(b)):
        for kind in (ours.FeatureAblation, ours.ShapleyValueSampling):
            values = kind(f).attribute(x, baselines=0.25, target=1, **SMALL[kind])
            assert bool((values[..., 4:] == 0).all()) and bool((values[..., :4] != 0).any())


def test_empty_inputs():
    model, (x,) = case("mlp")
    for kind in (ours.FeatureAblation, ours.ShapleyValueSampling, ours.ShapleyValues, ours.Occlusion):
        options = {"sliding_window_shapes": (2,)} if kind is ours.Occlusion else {}
        assert kind(model).attribute(x[:0], target=1, **options).shape == (0, 7)
        assert kind(lambda b: model(b)).attribute(x[:0], target=1, **options).shape == (0, 7)
    for kind in FITTED:
        assert kind(model).attribute(x[:0], target=1).shape == (0, 7)

    def f(a: Tensor, b: Tensor) -> Tensor:
        return model(a)[:, 0] + b.sum(1)

    for kind in (ours.FeatureAblation, ours.ShapleyValueSampling):
        found, expected = both(kind, f, (x, x[:, :0]), same_seed=True, **SMALL[kind])
        agree(found, expected)


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling, ours.ShapleyValues])
def test_elements_that_are_examples(kind):
    """As masks of edges: a vector whose elements stand in dimension 0, and one output for all of them."""

    def f(mask: Tensor) -> Tensor:
        return torch.stack([mask.sum() ** 2, mask[0] * mask[1]]).unsqueeze(0)

    same(kind, f, torch.tensor([0.5, -1.0, 2.0, 1.5]), target=1)
