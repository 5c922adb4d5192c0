"""Saliency, InputXGradient, GuidedBackprop, Deconvolution beside Captum's."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast as rx
from reluxfast.compat import captum as ours
from tests.compat.captum.models import (
    CNN,
    MODELS,
    FunctionalCNN,
    Maps,
    Regression,
    TwoInputs,
    built,
    case,
    rows,
    shared,
)
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
    agree(*both(kind, shared(Maps), *rows(((7,),)), target=target))


@pytest.mark.parametrize("kind", CLASSES)
def test_one_output(kind):
    agree(*both(kind, shared(Regression), *rows(((7,),))))


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
    twin, (x,) = shared(CNN), rows(((3, 11, 9),))
    model = shared(FunctionalCNN)
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
    model, (x,) = built(CNN), rows(((3, 11, 9),))
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
    same_error(ours.Saliency, shared(Maps), *rows(((7,),)), target)


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


def test_a_function_that_answers_with_one_number():
    model, (x,) = case("mlp")
    with pytest.raises(AssertionError, match="in dimension 0"):
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


def test_extra_tensors_that_happen_to_have_as_many_rows():
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear1, self.relu, self.linear2 = nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)

        def forward(self, x, weight):
            return self.linear2(self.relu(self.linear1(x))) * weight

    model, weight = shared(Weighted), torch.tensor([1.0, -2.0, 3.0])
    for count in (2, 3, 5):
        (x,) = rows(((7,),), count)
        for kind in (ours.Saliency, ours.GuidedBackprop):
            agree(*both(kind, model, x, target=1, additional_forward_args=weight))


def test_models_that_cannot_be_captured_are_runtime_errors_too():
    model, (x,) = case("mlp")
    for kind in (ours.Saliency, ours.GuidedBackprop, ours.LRP):
        with pytest.raises(RuntimeError) as error:
            kind(model).attribute(x[:, :5], target=1)
        assert isinstance(error.value, rx.UnsupportedNode)


def test_graph_modules_and_torchscript():
    model, (x,) = case("mlp")
    traced = torch.fx.symbolic_trace(model)
    for kind in CLASSES:
        agree(kind(traced).attribute(x, 1), kind(model).attribute(x, 1))
    scripted = torch.jit.trace(model, x)
    for kind in (ours.Saliency, ours.InputXGradient):
        agree(*both(kind, scripted, x, target=1))
    with pytest.raises(AssertionError, match="TorchScript"):
        ours.GuidedBackprop(scripted)


def test_functions_that_answer_for_all_rows_together():
    model, (x,) = case("mlp")

    def summed(x):
        return model(x).sum(0, keepdim=True)

    for kind in (ours.Saliency, ours.InputXGradient):
        agree(*both(kind, summed, x, target=2))
    agree(*both(ours.IntegratedGradients, summed, x, target=2, internal_batch_size=3))


def test_copies_and_pickles():
    model, (x,) = case("mlp")
    for kind in (*CLASSES, ours.LRP, ours.IntegratedGradients, ours.DeepLift, ours.FeatureAblation, ours.Lime):
        attributor = kind(model)
        value = attributor.attribute(x, target=1)
        for twin in (copy.deepcopy(attributor), pickle.loads(pickle.dumps(attributor))):
            if kind is not ours.Lime:
                assert torch.equal(twin.attribute(x, target=1), value)
