"""Errors, what other code relies on, several threads, and a model that is only read."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from reluxfast.compat.captum import perturbation as ours
from reluxfast.errors import InvalidInput
from tests.compat.captum.models import Maps, case, shared
from tests.compat.captum.parity import attr, both, quietly, same_error
from tests.compat.captum.perturbed import FITTED, MASKED, SMALL, Tokens
from tests.support import assert_close, assert_untouched, fingerprint


def needed(kind):
    return {"sliding_window_shapes": (3,)} if kind is ours.Occlusion else {}


@pytest.mark.parametrize("kind", SMALL)
def test_classes(kind):
    model, (x,) = case("mlp")
    peer = getattr(attr, kind.__name__)
    method, theirs = kind(model), quietly(lambda: peer(model))
    assert method.forward_func is model and isinstance(method, attr.Attribution)
    assert isinstance(method, type(theirs).__mro__[-3])  # PerturbationAttribution
    assert method.get_name() == theirs.get_name()
    assert method.multiplies_by_inputs == theirs.multiplies_by_inputs
    assert method.has_convergence_delta() is theirs.has_convergence_delta() is False
    with pytest.raises(NotImplementedError):
        method.attribute_future()
    wrapped = type(method).attribute.__wrapped__
    torch.manual_seed(0)
    expected = method.attribute(x, target=1, **needed(kind))
    torch.manual_seed(0)
    assert torch.equal(wrapped(method, x, target=1, **needed(kind)), expected)
    names = list(inspect.signature(peer.attribute).parameters)
    assert list(inspect.signature(kind.attribute).parameters) == names
    defaults = [(p.name, p.default) for p in inspect.signature(peer.attribute).parameters.values()]
    assert [(p.name, p.default) for p in inspect.signature(kind.attribute).parameters.values()] == defaults
    assert list(inspect.signature(kind).parameters) == list(inspect.signature(peer).parameters)


def test_families():
    assert issubclass(ours.Occlusion, ours.FeatureAblation) and issubclass(ours.KernelShap, ours.Lime)
    assert issubclass(ours.ShapleyValues, ours.ShapleyValueSampling)


@pytest.mark.parametrize("kind", [k for k in SMALL if k not in FITTED])
def test_arguments_of_the_wrong_kind(kind):
    model, (x,) = case("mlp")
    more = needed(kind)
    same_error(kind, model, [x], target=1, **more)
    for at_once in (0, -1, 2.0):
        assert "at least 1" in str(same_error(kind, model, x, target=1, perturbations_per_eval=at_once, **more))
    for target in (4, -5, [0, 1, 4], [0, 1], "1", 1.0, torch.tensor([[1], [2], [0]]), (1, 2), ["a", "b", "c"]):
        same_error(kind, model, x, target=target, **more)
    for target in ([0, 1, 2], torch.tensor([0, 1, 2])):
        same_error(kind, shared(Maps), x, target=target, **more)
    same_error(kind, model, x, baselines="none", target=1, **more)


@pytest.mark.parametrize("kind", FITTED)
def test_arguments_of_the_wrong_kind_for_fits(kind):
    model, (x,) = case("mlp")
    same_error(kind, model, [x], target=1)
    for target in (4, [0, 1, 4], [0, 1], "1", 1.0, (1, 2)):
        same_error(kind, model, x, target=target)
    with pytest.raises(AssertionError, match="at least 1"):
        kind(model).attribute(x, target=1, perturbations_per_eval=0)


@pytest.mark.parametrize("shape", [(1, 6), (2, 7), (1, 1, 7), (3, 2)])
def test_masks_that_do_not_fit(shape):
    model, (x,) = case("mlp")
    mask = torch.zeros(shape, dtype=torch.int64)
    error = same_error(ours.ShapleyValueSampling, model, x, target=1, feature_mask=mask)
    assert "feature_mask (index 0) must broadcast to its input" in str(error)
    for kind in MASKED:
        with pytest.raises(AssertionError, match="feature_mask"):
            kind(model).attribute(x, target=1, feature_mask=mask)
        with pytest.raises(AssertionError, match="feature_mask must hold one mask for each input"):
            kind(model).attribute(x, target=1, feature_mask=(mask, mask))
        with pytest.raises(InvalidInput, match="feature_mask must hold integers"):
            kind(model).attribute(x, target=1, feature_mask=torch.full((1, 7), 0.5))
    for kind in (ours.ShapleyValueSampling, ours.ShapleyValues):
        with pytest.raises(InvalidInput, match="feature_mask must hold integers from 0 on, got -1"):
            kind(model).attribute(x, target=1, feature_mask=torch.arange(7) - 1)


WINDOWS = [
    ({"sliding_window_shapes": (8,)}, "must not exceed an example's shape"),
    ({"sliding_window_shapes": (2, 2)}, "must be a tuple of 1 positive ints"),
    ({"sliding_window_shapes": ((2,), (2,))}, "must be as many as the inputs"),
    ({"sliding_window_shapes": (2,), "strides": 3}, "must not exceed the window"),
    ({"sliding_window_shapes": (2,), "strides": (1, 1)}, "must be a positive int or 1 of them"),
    ({"sliding_window_shapes": (2,), "strides": "1"}, "must be a positive int or 1 of them"),
]


@pytest.mark.parametrize(("options", "words"), WINDOWS, ids=str)
def test_windows_that_do_not_fit(options, words):
    model, (x,) = case("mlp")
    assert words in str(same_error(ours.Occlusion, model, x, target=1, **options))


def test_baselines_and_inputs_that_do_not_fit():
    model, x = case("two_inputs")
    for baselines in (0.5, (x[0],), (x[0][:2], x[1]), (x[0], x[1][:, :3])):
        with pytest.raises(AssertionError, match="baselines must"):
            ours.ShapleyValueSampling(model).attribute(x, baselines=baselines, target=1)
    with pytest.raises(AssertionError, match=r"inputs must have as many rows as the inputs \(3\), got 2"):
        ours.FeatureAblation(model).attribute((x[0], x[1][:2]), target=1)
    with pytest.raises(AssertionError, match="inputs must have examples in dimension 0"):
        ours.FeatureAblation(lambda a: a).attribute(torch.tensor(1.0))
    with pytest.raises(AssertionError, match="forward_func must be a Module or a function"):
        ours.FeatureAblation("model").attribute(x, target=1)


def test_more_features_than_exact_values_are_for():
    with pytest.raises(InvalidInput, match="must leave at most 26 features to ask for exact values, got 30 features"):
        ours.ShapleyValues(lambda b: b.sum(1)).attribute(torch.ones(1, 30))


@pytest.mark.parametrize("kind", SMALL)
def test_the_model_and_the_inputs_are_only_read(kind):
    for name in ("mlp", "two_inputs"):
        model, x = case(name)
        model.train()
        for p in list(model.parameters())[:2]:
            p.grad = torch.ones_like(p)
        before, kept = fingerprint(model), [t.clone() for t in x]
        x[0].requires_grad_()
        options = {"sliding_window_shapes": tuple(tuple(1 for _ in t.shape[1:]) for t in x)}
        options = options if kind is ours.Occlusion else {}
        if kind is ours.ShapleyValues:
            options = {
                "feature_mask": tuple(torch.zeros(1, *t.shape[1:], dtype=torch.int64) + i for i, t in enumerate(x))
            }
        inputs = x if len(x) > 1 else x[0]
        if len(x) == 1:
            options = {k: v[0] for k, v in options.items()}
        found = kind(model).attribute(inputs, target=1, **options)
        assert not any(v.requires_grad for v in (found if isinstance(found, tuple) else (found,)))
        with pytest.raises(IndexError):
            kind(model).attribute(inputs, target=9, **options)
        assert_untouched(before, model)
        assert x[0].requires_grad and x[0].grad is None
        assert all(torch.equal(t.detach(), k) for t, k in zip(x, kept, strict=True))


def test_functions_may_write_into_what_they_are_given():
    _, (x,) = case("mlp")
    kept = x.clone()

    def f(batch: Tensor) -> Tensor:
        return batch.mul_(2).sum(1)

    for kind in SMALL:
        torch.manual_seed(0)
        found = kind(f).attribute(x, **{**SMALL[kind], **needed(kind)})
        torch.manual_seed(0)
        expected = kind(lambda batch: 2 * batch.sum(1)).attribute(x, **{**SMALL[kind], **needed(kind)})
        assert_close(found, expected, 1e-6)
    assert torch.equal(x, kept)


def test_eight_threads():
    model, (x,) = case("mlp", 8)
    text = shared(Tokens)
    tokens = torch.randint(0, 50, (8, 4), generator=torch.Generator().manual_seed(2))
    jobs = [
        (kind(f), inputs, needed(kind))
        for kind in (ours.FeatureAblation, ours.Occlusion, ours.ShapleyValues)
        for f, inputs in ((model, x), (lambda b: model(b), x), (text, tokens))
    ]
    before = fingerprint(model), fingerprint(text)
    expected = [m.attribute(i, target=1, **o) for m, i, o in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: job[0].attribute(job[1], target=1, **job[2]), jobs * 8))
    for i, values in enumerate(found):
        assert_close(values, expected[i % len(jobs)], 1e-6)
    shap = ours.KernelShap(model)
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda _: shap.attribute(x, target=1, n_samples=200).sum(1), range(16)))
    gain = (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    for total in sums:
        assert_close(total, gain, 1e-2)
    assert_untouched(before[0], model)
    assert_untouched(before[1], text)


def test_the_default_device_is_of_no_matter():
    model, (x,) = case("mlp")
    for kind in (ours.FeatureAblation, ours.Occlusion, ours.ShapleyValues):
        for f in (model, lambda b: model(b)):
            expected = kind(f).attribute(x, target=1, **needed(kind))
            with torch.device("meta"):
                assert torch.equal(kind(f).attribute(x, target=1, **needed(kind)), expected)


def test_weights_that_change_are_noticed():
    model, (x,) = case("mlp")
    method = ours.FeatureAblation(model)
    first = method.attribute(x, target=1)
    with torch.no_grad():
        model.linear3.weight.mul_(2)
        model.linear3.bias.mul_(2)
    assert_close(method.attribute(x, target=1), 2 * first, 1e-6)


def test_bars_are_drawn_when_asked_for(monkeypatch):
    from reluxfast.compat.captum.perturbation import asked

    shown = []
    drawn = asked.progress_bar

    def bar(*args, show: bool = True, **options):
        shown.append(show)
        return drawn(*args, show=show, **options)

    monkeypatch.setattr(asked, "progress_bar", bar)
    model, (x,) = case("mlp")
    for show in (True, False):
        shown.clear()
        for kind in (ours.FeatureAblation, ours.Occlusion, ours.ShapleyValueSampling, ours.ShapleyValues):
            kind(model).attribute(x, target=1, show_progress=show, **needed(kind))
        assert shown == [show] * 4


def test_calls_do_not_grow_with_samples():
    torch.manual_seed(0)
    x, weight, sizes = torch.randn(2, 300), torch.randn(300), []

    def f(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return (batch * weight).sum(1)

    found = ours.ShapleyValueSampling(f).attribute(x, n_samples=40)
    assert max(sizes) == 256 and sum(sizes) < 2 * 40 * 300 + 20
    assert_close(found, x * weight, 1e-5)
    sizes.clear()
    ours.ShapleyValueSampling(f).attribute(x, n_samples=40, perturbations_per_eval=400)
    assert max(sizes) == 800


def test_both_are_called_alike():
    """The names in `captum.attr` are those of ours."""
    model, (x,) = case("mlp")
    found, expected = both(ours.FeatureAblation, model, x, None, 1, None, None, 2, False)
    assert_close(found, expected, 1e-5)
