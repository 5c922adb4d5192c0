"""Every class against pytorch-grad-cam's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast.compat.grad_cam as ours
from reluxfast.compat.grad_cam.utils.model_targets import ClassifierOutputTarget
from tests.compat.grad_cam.networks import Net, Tokens, Volumes, as_map, images, made
from tests.compat.grad_cam.peer import assert_same_map, signed_components, theirs
from tests.support import assert_close

GRADIENT = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "HiResCAM", "LayerCAM", "GradCAMElementWise", "EigenGradCAM")
CLASSES = (*GRADIENT, "EigenCAM", "ScoreCAM", "AblationCAM")
# One image and several; odd, not square; layers smaller than the input.
SHAPES = [(1, 3, 16, 16), (3, 3, 19, 26)]


def _peer(name: str, model: nn.Module, layers: list[str], x: torch.Tensor, targets, more: dict | None = None, **call):
    """Map and outputs of pytorch-grad-cam on a copy of the model, which it changes."""
    model = copy.deepcopy(model)
    with (
        signed_components(),
        getattr(theirs, name)(model, [model.get_submodule(layer) for layer in layers], **(more or {})) as cam,
    ):
        return cam(x.clone(), targets, **call), cam.outputs.detach()


def _ours(name: str, model: nn.Module, layers: list[str], x: torch.Tensor, targets, more: dict | None = None, **call):
    cam = getattr(ours, name)(model, [model.get_submodule(layer) for layer in layers], **(more or {}))
    return cam(x, targets, **call), cam.outputs


def _compare(name: str, model: nn.Module, layers: list[str], x: torch.Tensor, targets=None, more=None, **call) -> None:
    expected, outputs = _peer(name, model, layers, x, targets, more, **call)
    found, own = _ours(name, model, layers, x, targets, more, **call)
    assert_same_map(found, expected)
    assert own.dtype == outputs.dtype and not own.requires_grad
    assert_close(own, outputs, 1e-5, "outputs")


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_largest_class_and_chosen_classes(name, shape, dtype):
    model, x = made(Net, dtype), images(*shape, dtype=dtype)
    for layers in (["act3"], ["conv1"]):
        _compare(name, model, layers, x)
        _compare(name, model, layers, x, [ClassifierOutputTarget(i + 1) for i in range(len(x))])


@pytest.mark.parametrize("name", CLASSES)
def test_several_layers(name):
    model, x = made(Net), images(2, 3, 14, 17)
    _compare(name, model, ["bn", "pool", "act3"], x)
    _compare(name, model, ["conv2", "conv3"], x)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("option", ["aug_smooth", "eigen_smooth"])
def test_smoothing(name, option):
    model, x = made(Net), images(2, 3, 14, 17)
    _compare(name, model, ["act3"], x, [ClassifierOutputTarget(0), ClassifierOutputTarget(3)], **{option: True})
    _compare(name, model, ["conv1", "act3"], x, None, **{option: True})


def test_both_smoothings_at_once():
    _compare("GradCAM", made(Net), ["act3"], images(2, 3, 14, 17), None, aug_smooth=True, eigen_smooth=True)


def test_a_smoothing_by_ttach():
    tta = pytest.importorskip("ttach", reason="ttach is not installed: its transforms are not tried")
    model, x = made(Net), images(2, 3, 14, 14)
    variants = tta.Compose([tta.VerticalFlip(), tta.Multiply([1, 2])])
    cam, peer_model = ours.GradCAM(model, [model.act3]), copy.deepcopy(model)
    peer = theirs.GradCAM(peer_model, [peer_model.act3])
    cam.tta_transforms = peer.tta_transforms = variants
    assert_same_map(cam(x, None, aug_smooth=True), peer(x, None, aug_smooth=True))


@pytest.mark.parametrize("name", GRADIENT)
def test_layers_larger_than_the_input(name):
    """Maps are made smaller without smoothing."""

    def net():
        return nn.Sequential(nn.Upsample(scale_factor=3), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))

    x = images(2, 3, 7, 10)
    model = made(lambda: _initialised(net(), x))
    _compare(name, model, ["2"], x)


def _initialised(model: nn.Module, x: torch.Tensor) -> nn.Module:
    model(x)
    return model


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("relu", [lambda: F.relu, lambda: torch.relu, lambda: torch.Tensor.relu_], ids=range(3))
def test_functional_relus(name, relu):
    """A network without ReLU modules against pytorch-grad-cam on its twin with them."""
    x, layers = images(2, 3, 14, 17), ["bn", "pool"]
    expected, _ = _peer(name, made(Net), layers, x, None)
    assert_same_map(_ours(name, made(lambda: Net(relu)), layers, x, None)[0], expected)


def test_layer_before_an_in_place_relu():
    """Its own output counts: pytorch-grad-cam finds on a CPU what the ReLU has written there."""
    x, in_place = images(2, 3, 14, 17), made(lambda: Net(lambda: nn.ReLU(inplace=True)))
    expected, _ = _peer("GradCAM", made(Net), ["conv3"], x, None)
    assert_same_map(_ours("GradCAM", in_place, ["conv3"], x, None)[0], expected)
    overwritten, _ = _peer("GradCAM", in_place, ["conv3"], x, None)
    assert np.abs(overwritten - expected).max() > 0.01


@pytest.mark.parametrize("name", [n for n in CLASSES if n not in ("ScoreCAM", "AblationCAM")])
def test_volumes(name):
    model = made(Volumes)
    for x in (images(2, 2, 9, 11, 7), images(1, 2, 8, 6, 10)):
        _compare(name, model, ["act2"], x)
        _compare(name, model, ["conv1", "act2"], x, None, aug_smooth=True)


@pytest.mark.parametrize("name", ["ScoreCAM", "AblationCAM"])
def test_volumes_that_the_peer_refuses(name):
    model, x = made(Volumes), images(2, 2, 9, 11, 7)
    found = _ours(name, model, ["act2"], x, None)[0]
    assert found.shape == (2, 9, 11, 7) and found.min() == 0 and (found.reshape(2, -1).max(1) > 0.9).all()
    alone = [_ours(name, model, ["act2"], x[i : i + 1], None)[0][0] for i in range(2)]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-5)


@pytest.mark.parametrize("name", [n for n in CLASSES if n != "AblationCAM"])
def test_tokens(name):
    model, x = made(Tokens), images(2, 3, 8, 8)
    _compare(name, model, ["block"], x, None, {"reshape_transform": as_map})


def test_reused_layer_by_number():
    """One call of a reused module, named; pytorch-grad-cam takes the first of them unasked."""
    model, x = made(Tokens), images(2, 3, 8, 8)

    def reshape(value):
        return as_map(value.transpose(1, 2))

    expected, _ = _peer("GradCAM", model, ["mix"], x, None, {"reshape_transform": reshape})
    assert_same_map(ours.GradCAM(model, ["mix#1"], reshape)(x, None), expected)
    with pytest.raises(ValueError, match="target_layers 'mix' is called 2 times"):
        ours.GradCAM(model, [model.mix], reshape)(x, None)


def test_half_precision_is_computed_in_float32():
    model, x = made(Net), images(2, 3, 14, 17)
    half = copy.deepcopy(model).half()
    expected = ours.GradCAM(copy.deepcopy(half).float(), ["act3"])(x.half().float(), None)
    found = ours.GradCAM(half, ["act3"])
    assert np.array_equal(found(x.half(), None), expected) and found.outputs.dtype == torch.float16


def test_tensor_instead_of_array():
    model, x = made(Net), images(2, 3, 14, 17)
    for name in CLASSES:
        cam = getattr(ours, name)(model, ["act3"])
        tensor = cam(x, None, return_tensor=True)
        assert isinstance(tensor, torch.Tensor) and not tensor.requires_grad
        assert np.array_equal(tensor.numpy(), cam(x, None))
        assert np.array_equal(tensor.numpy(), cam.forward(x, None))
