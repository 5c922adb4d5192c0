"""LayerGradCam, LayerGradientXActivation, LayerActivation, GuidedGradCam beside Captum's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reluxfast.compat import captum as ours
from reluxfast.errors import InvalidInput
from tests.compat.captum.models import CNN, FunctionalCNN, case, rows, shared
from tests.compat.captum.parity import agree, attr, both, quietly, same_error
from tests.support import assert_untouched, fingerprint

LAYERS = ["conv1", "bn1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "linear1", "relu3", "linear2"]
CLASSES = [ours.LayerGradCam, ours.LayerGradientXActivation, ours.LayerActivation]


def arguments(kind):
    return {} if kind is ours.LayerActivation else {"target": [1, 0, 3]}


@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", CLASSES)
def test_every_layer(kind, layer, of_input):
    model, (x,) = case("cnn")
    options = arguments(kind) | {"attribute_to_layer_input": of_input}
    agree(*both(kind, model, x, construct=(getattr(model, layer),), **options))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", ["conv1d", "conv3d", "mlp"])
def test_other_networks(name, kind):
    model, x = case(name, dtype=torch.float64)
    layer = model.conv1 if hasattr(model, "conv1") else model.relu1
    agree(*both(kind, model, x[0], construct=(layer,), **arguments(kind)))


@pytest.mark.parametrize("kind", CLASSES)
def test_several_inputs_and_further_arguments(kind):
    model, x = case("two_inputs")
    options = arguments(kind) | {"additional_forward_args": (torch.tensor([1.0, 2.0, 3.0]), None, 2.0)}
    agree(*both(kind, model, x, construct=(model.relu1,), **options))


@pytest.mark.parametrize("kind", [ours.LayerGradientXActivation, ours.LayerActivation])
def test_lists_of_layers(kind):
    model, (x,) = case("cnn")
    layers = [model.relu1, model.conv2, model.linear1]
    agree(*both(kind, model, x, construct=(layers,), **arguments(kind)))


def test_options_of_grad_cam():
    model, (x,) = case("cnn")
    for options in ({"relu_attributions": True}, {"attr_dim_summation": False}):
        agree(*both(ours.LayerGradCam, model, x, 1, construct=(model.conv2,), **options))
    agree(*both(ours.LayerGradientXActivation, model, x, 1, construct=(model.conv2, None, False)))
    cam = ours.LayerGradCam(model, model.conv2).attribute(x, 1)
    agree(ours.LayerGradCam.interpolate(cam, (11, 9)), attr.LayerAttribution.interpolate(cam, (11, 9)))


class Reused(nn.Module):
    """One ReLU and one linear map called twice each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.relu, self.last = nn.Linear(7, 6), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.relu(self.again(self.relu(self.again(self.first(x))))))


@pytest.mark.parametrize("layer", ["relu", "again"])
@pytest.mark.parametrize("kind", [ours.LayerGradientXActivation, ours.LayerActivation])
def test_a_layer_called_twice_means_its_last_call(kind, layer):
    model, (x,) = shared(Reused), rows(((7,),))
    agree(*both(kind, model, x, construct=(getattr(model, layer),), **arguments(kind)))


@pytest.mark.parametrize("layer", ["relu1", "conv2", "relu2"])
def test_guided_grad_cam(layer):
    model, (x,) = case("cnn")
    for options in ({}, {"interpolate_mode": "bilinear"}, {"attribute_to_layer_input": True}):
        agree(*both(ours.GuidedGradCam, model, x, 1, construct=(getattr(model, layer),), **options))


def test_guided_grad_cam_of_several_inputs_leaves_out_what_is_no_image():
    model, x = case("two_inputs")
    agree(*both(ours.GuidedGradCam, model, x, 1, construct=(model.relu1,)))


def test_guided_grad_cam_of_functional_relus():
    twin, model, (x,) = shared(CNN), shared(FunctionalCNN), rows(((3, 11, 9),))
    expected = quietly(lambda: attr.GuidedGradCam(twin, twin.conv2).attribute(x.clone(), 1))
    agree(ours.GuidedGradCam(model, model.conv2).attribute(x, 1), expected)


def test_captums_own_guided_grad_cam_takes_ours():
    model, (x,) = case("cnn")
    wrapper = attr.GuidedGradCam(model, model.conv2)
    expected = quietly(lambda: wrapper.attribute(x.clone(), 1)).detach()
    wrapper.grad_cam, wrapper.guided_backprop = ours.LayerGradCam(model, model.conv2), ours.GuidedBackprop(model)
    agree(wrapper.attribute(x, 1), expected)


def test_layers_that_are_refused():
    model, (x,) = case("cnn")
    for kind in CLASSES:
        with pytest.raises(AssertionError, match="Pass the module"):
            kind(model, "conv1").attribute(x, **arguments(kind))
        with pytest.raises(AssertionError, match="forward of a Module"):
            kind(lambda x: model(x), model.conv1).attribute(x, **arguments(kind))
        with pytest.raises(AssertionError, match="module of the explained model"):
            kind(model, nn.ReLU()).attribute(x, **arguments(kind))
    same_error(ours.LayerGradCam, model, x, None, construct=(model.conv1,))


def test_models_are_only_read():
    model, (x,) = case("cnn")
    before = fingerprint(model)
    for kind in CLASSES:
        kind(model, model.conv2).attribute(x, **arguments(kind))
    with pytest.raises(IndexError):
        ours.LayerGradCam(model, model.conv2).attribute(x, 17)
    assert_untouched(before, model)


def test_what_other_code_relies_on():
    model, _ = case("cnn")
    for kind in (*CLASSES, ours.LayerIntegratedGradients, ours.GuidedGradCam):
        a, b = kind(model, model.conv2), getattr(attr, kind.__name__)(model, model.conv2)
        assert isinstance(a, tuple(c for c in type(b).__mro__ if c.__name__.endswith("Attribution")))
        assert (a.multiplies_by_inputs, a.has_convergence_delta()) == (
            b.multiplies_by_inputs,
            b.has_convergence_delta(),
        )
        assert a.get_name() == b.get_name() and callable(type(a).attribute.__wrapped__)
        assert getattr(a, "layer", None) is getattr(b, "layer", None)


class Several(nn.Module):
    """Returns more than logits."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.relu, self.linear2 = nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 4)
        self.side = nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.relu(self.linear1(x))
        return {"logits": self.linear2(hidden), "side": self.side(hidden)}


def test_models_that_return_several_tensors():
    model, (x,) = shared(Several), rows(((7,),))
    for layer in (model.linear1, model.relu, model.linear2):
        agree(*both(ours.LayerActivation, model, x, construct=(layer,)))
    for kind in (ours.NeuronGradient, ours.NeuronGuidedBackprop):
        agree(*both(kind, model, x, 2, construct=(model.linear2,)))
    agree(*both(ours.LayerActivation, model, x, construct=([model.linear1, model.linear2],)))
    with pytest.raises(AssertionError, match="the output depends on"):
        ours.LayerActivation(model, model.side).attribute(x)
    with pytest.raises(RuntimeError, match="not one tensor"):
        ours.LayerGradCam(model, model.relu).attribute(x, 1)


def test_values_with_a_history_are_refused():
    model, (x,) = case("cnn")
    for kind in (ours.LayerGradCam, ours.LayerGradientXActivation, ours.LayerIntegratedGradients):
        attributor = kind(model, model.conv2)
        with pytest.raises(InvalidInput, match="create_graph"):
            attributor.attribute(x, target=1, grad_kwargs={"create_graph": True})
        assert attributor.attribute(x, target=1, grad_kwargs={"retain_graph": True}).shape == (3, 8, 2, 1)[:1] + (
            (1, 2, 1) if kind is ours.LayerGradCam else (8, 2, 1)
        )
