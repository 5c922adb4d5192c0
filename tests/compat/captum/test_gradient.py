"""Saliency, InputXGradient, GuidedBackprop, Deconvolution beside Captum's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from reluxfast.compat import captum as ours
from tests.compat.captum.models import CNN, MODELS, FunctionalCNN, Maps, Regression, TwoInputs, built, case, rows
from tests.compat.captum.parity import agree, attr, both, quietly, same_error
from tests.support import assert_close, assert_untouched, fingerprint

CLASSES = [ours.Saliency, ours.InputXGradient, ours.GuidedBackprop, ours.Deconvolution]
TARGETS = [1, -1, (2,), [0, 3, 1], torch.tensor([3, 0, 2]), torch.tensor(2), torch.tensor([1]), [(1,), (0,), (3,)]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", CLASSES)
def test_every_kind_of_network(kind, name, dtype):
    model, x = case(name, dtype=dtype)
    agree(*both(kind, model, x, target=1))
    if len(x) == 1:
        agree(*both(kind, model, x[0], target=[3, 0, 1]))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", CLASSES)
def test_five_forms_of_target(kind, target):
    model, x = case("mlp")
    agree(*both(kind, model, x[0], target=target))


@pytest.mark.parametrize("target", [(1, 4), (-1, 0), [(0, 1), (2, 2), (1, 0)]], ids=str)
@pytest.mark.parametrize("kind", CLASSES)
def test_outputs_of_more_dimensions(kind, target):
    agree(*both(kind, built(Maps), *rows(((7,),)), target=target))


@pytest.mark.parametrize("kind", CLASSES)
def test_one_output(kind):
    agree(*both(kind, built(Regression), *rows(((7,),))))


def test_signed_saliency():
    model, x = case("cnn")
    agree(*both(ours.Saliency, model, x[0], 2, abs=False))
    assert (ours.Saliency(model).attribute(x[0], 2) >= 0).all()


EXTRA = [
    (torch.tensor([0.5, -2.0, 1.5]),),
    torch.tensor([0.5, -2.0, 1.5]),
    (None, torch.tensor([4, 0, 2])),
    (torch.tensor([0.5, -2.0, 1.5]), torch.tensor([4, 0, 2]), 3.0),
    (None, None, -1.5),
    (None, None, torch.tensor(0.25)),
]


@pytest.mark.parametrize("extra", EXTRA, ids=range(len(EXTRA)))
@pytest.mark.parametrize("kind", CLASSES)
def test_further_arguments(kind, extra):
    model, x = case("two_inputs")
    agree(*both(kind, model, x, target=[0, 1, 2], additional_forward_args=extra))


def test_a_fixed_argument_that_changes():
    model, x = case("two_inputs")
    attributor = ours.Saliency(model)
    first = attributor.attribute(x, 1, additional_forward_args=(None, None, 2.0))
    assert_close(attributor.attribute(x, 1, additional_forward_args=(None, None, 6.0))[0], 3 * first[0], 1e-6)


@pytest.mark.parametrize("kind", [ours.GuidedBackprop, ours.Deconvolution])
def test_functional_relus_are_relus(kind):
    twin, (x,) = built(CNN), rows(((3, 11, 9),))
    model = built(FunctionalCNN)
    expected = quietly(lambda: getattr(attr, kind.__name__)(twin).attribute(x.clone(), 1))
    agree(kind(model).attribute(x, 1), expected)
    plain = quietly(lambda: getattr(attr, kind.__name__)(model).attribute(x.clone(), 1))
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(plain, expected, 1e-2)  # Captum's own is the plain gradient there


@pytest.mark.parametrize("kind", [ours.Saliency, ours.InputXGradient])
def test_functions_by_autograd(kind):
    model, x = case("two_inputs")

    def probability(image, vector, factor):
        return F.softmax(model(image, vector, factor), 1)

    agree(*both(kind, probability, x, target=[0, 1, 2], additional_forward_args=torch.tensor([1.0, 2.0, 3.0])))
    agree(*both(kind, model.forward, x, target=1))


def test_half_precision():
    model, (x,) = case("cnn")
    half = model.half()
    value = ours.Saliency(half).attribute(x.half(), 1)
    assert value.dtype == torch.float16
    expected = ours.Saliency(model.float()).attribute(x.half().float(), 1)
    assert_close(value.float(), expected, 2e-3)


def test_memory_format_is_kept():
    model, (x,) = case("cnn")
    x = x.to(memory_format=torch.channels_last)
    assert ours.GuidedBackprop(model).attribute(x, 1).is_contiguous(memory_format=torch.channels_last)


def test_inputs_and_model_are_only_read():
    model, (x,) = case("cnn")
    before = fingerprint(model)
    for kind in CLASSES:
        x = x.detach().requires_grad_()
        kind(model).attribute(x, 1)
        assert x.grad is None and x.requires_grad
        with pytest.raises(IndexError):
            kind(model).attribute(x.detach(), 17)
    assert_untouched(before, model)


def test_a_batch_of_nothing():
    model, (x,) = case("cnn")
    assert ours.GuidedBackprop(model).attribute(x[:0], 1).shape == (0, 3, 11, 9)


@pytest.mark.parametrize(
    "target",
    [None, 1.5, "3", [0, 1], torch.tensor([0, 1]), (0, 1), [0.5, 1, 2], 4, (9,), [0, 1, 9], torch.tensor([0, 9, 1])],
    ids=str,
)
def test_targets_that_are_refused(target):
    model, x = case("mlp")
    error = same_error(ours.Saliency, model, x[0], target)
    assert "target" in str(error)


@pytest.mark.parametrize("target", [None, 1, [0, 1, 2], torch.tensor([0, 1, 2]), (0, 1, 1)], ids=str)
def test_targets_that_outputs_of_more_dimensions_refuse(target):
    same_error(ours.Saliency, built(Maps), *rows(((7,),)), target)


def test_inputs_that_are_refused():
    model, (x,) = case("mlp")
    same_error(ours.Saliency, model, [x], 0)
    same_error(ours.Saliency, lambda x: model(x.float()), torch.arange(21).view(3, 7), 0)
    with pytest.raises(RuntimeError, match="floating-point"):
        ours.Saliency(model).attribute(torch.arange(21).view(3, 7), 0)
    with pytest.raises(AssertionError, match=r"torch\.nn\.Module"):
        ours.GuidedBackprop(lambda x: model(x))
    with pytest.raises(AssertionError):
        attr.GuidedBackprop(lambda x: model(x))
    with pytest.raises(AssertionError, match="function"):
        ours.Saliency("model").attribute(x, 0)


def test_a_function_that_answers_for_the_whole_batch():
    model, (x,) = case("mlp")
    with pytest.raises(AssertionError, match="as many rows"):
        ours.Saliency(lambda x: model(x).sum()).attribute(x)


def test_what_other_code_relies_on():
    model = built(TwoInputs)
    for kind in CLASSES:
        a, b = kind(model), getattr(attr, kind.__name__)(model)
        assert isinstance(a, attr.GradientAttribution)
        assert a.forward_func is model and callable(a.gradient_func)
        assert (a.multiplies_by_inputs, a.has_convergence_delta()) == (
            b.multiplies_by_inputs,
            b.has_convergence_delta(),
        )
        assert a.get_name() == b.get_name()
        assert callable(type(a).attribute.__wrapped__)
        messages = []
        for attributor in (a, b):
            with pytest.raises(NotImplementedError) as error:
                attributor.attribute_future()
            messages.append(str(error.value))
        assert messages[0] == messages[1]
