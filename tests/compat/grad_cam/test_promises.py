"""What users rely on: the documented way of use, a model that is only read, errors that come out, threads."""

from __future__ import annotations

import copy
import importlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
import reluxfast.compat.grad_cam as ours
from reluxfast.compat.grad_cam import GradCAM
from reluxfast.compat.grad_cam.utils.image import deprocess_image, preprocess_image, show_cam_on_image
from reluxfast.compat.grad_cam.utils.model_targets import ClassifierOutputTarget
from tests.compat.grad_cam.networks import Net, Volumes, images, made
from tests.compat.grad_cam.peer import theirs
from tests.support import assert_untouched, fingerprint

CLASSES = [name for name in ours.__all__ if name.endswith(("CAM", "PlusPlus", "ElementWise")) and name != "BaseCAM"]


def test_the_documented_way_of_use():
    """From a picture to an overlay and a guided Grad-CAM, with each package."""
    rgb = np.float32(np.random.default_rng(0).random((20, 24, 3)))
    pictures = []
    for package, name in ((ours, "reluxfast.compat.grad_cam"), (theirs, "pytorch_grad_cam")):
        image = importlib.import_module(f"{name}.utils.image")
        targets = importlib.import_module(f"{name}.utils.model_targets")
        model = copy.deepcopy(made(Net))
        x = image.preprocess_image(rgb, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.2])
        with package.GradCAM(model=model, target_layers=[model.act3]) as cam:
            grey = cam(input_tensor=x, targets=[targets.ClassifierOutputTarget(2)])[0, :]
            shown = image.show_cam_on_image(rgb, grey, use_rgb=True)
            predicted = int(cam.outputs.argmax())
        guided = package.GuidedBackpropReLUModel(model=model, device="cpu")(x, target_category=None)
        product = package.utils.image.deprocess_image(grey[:, :, None] * guided)
        pictures.append((predicted, shown, product))
    (one, shown, product), (other, their_shown, their_product) = pictures
    assert one == other
    # A difference in the last digit may fall on either side of a whole number.
    for found, expected in ((shown, their_shown), (product, their_product)):
        assert found.dtype == expected.dtype and np.abs(np.int64(found) - np.int64(expected)).max() <= 1
    assert deprocess_image is ours.utils.image.deprocess_image and preprocess_image is ours.utils.image.preprocess_image
    assert show_cam_on_image is ours.utils.image.show_cam_on_image


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("options", [{}, {"aug_smooth": True}, {"eigen_smooth": True}], ids=str)
def test_model_and_input_are_only_read(name, options):
    model, x = copy.deepcopy(made(Net)), images(2, 3, 14, 17).requires_grad_()
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    model.bn.eval()
    before, kept = fingerprint(model), x.detach().clone()
    cam = getattr(ours, name)(model, [model.act3, model.conv1])
    cam(x, None, **options)
    with pytest.raises(rx.InvalidInput):
        cam(x, [ClassifierOutputTarget(99)] * 3, **options)
    assert_untouched(before, model)
    assert torch.equal(model.conv1.weight.grad, torch.ones_like(model.conv1.weight))
    assert torch.equal(x, kept) and x.grad is None and x.requires_grad


def test_errors_inside_a_target_leave_the_model_alone():
    model = made(Net)
    before = fingerprint(model)
    for name in CLASSES:
        if name != "EigenCAM":
            with pytest.raises(IndexError):
                getattr(ours, name)(model, [model.act3])(images(1, 3, 14, 17), [ClassifierOutputTarget(99)])
    assert_untouched(before, model)


def test_errors_leave_the_with_block():
    """pytorch-grad-cam prints an IndexError and goes on."""
    model = made(Net)
    with theirs.GradCAM(copy.deepcopy(model), []):
        raise IndexError("swallowed")
    with pytest.raises(IndexError, match="not swallowed"), GradCAM(model, [model.act3]):
        raise IndexError("not swallowed")


def test_eval_mode_is_explained_whatever_the_mode():
    model, x = copy.deepcopy(made(Net)), images(2, 3, 14, 17)
    found = GradCAM(model.train(), [model.act3])(x, None)
    assert np.array_equal(found, GradCAM(model.eval(), [model.act3])(x, None))


def test_weights_may_change_between_calls():
    model, x = copy.deepcopy(made(Net)), images(2, 3, 14, 17)
    cam = GradCAM(model, [model.act3])
    first = cam(x, None)
    with torch.no_grad():
        model.fc.weight.neg_()
    second = cam(x, None)
    assert np.array_equal(second, GradCAM(copy.deepcopy(model), ["act3"])(x, None))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", ["GradCAM", "ScoreCAM", "AblationCAM", "EigenCAM"])
def test_threads(name):
    """One object, eight threads, other images in each."""
    model = made(Net)
    cam = getattr(ours, name)(model, [model.act3])
    inputs = [images(2, 3, 14, 17, seed=10 + i) for i in range(8)]
    alone = [cam(x, None) for x in inputs]
    before = fingerprint(model)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: cam(x, None), inputs * 2))
    for found, expected in zip(together, alone * 2, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert_untouched(before, model)


@pytest.mark.parametrize("name", CLASSES)
def test_not_a_number_stays_visible(name):
    model, x = made(Net), images(2, 3, 14, 17)
    x[0, 1, 3, 3] = float("nan")
    found = getattr(ours, name)(model, ["act3"])(x, [ClassifierOutputTarget(1)] * 2)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_inference_tensors_and_modes():
    model, x = made(Net), images(2, 3, 14, 17)
    for name in CLASSES:
        cam = getattr(ours, name)(model, ["act3"])
        expected = cam(x, None)
        with torch.inference_mode():
            made_inside = x * 1
            assert np.array_equal(cam(made_inside, None), expected)
        assert np.array_equal(cam(made_inside, None), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert np.array_equal(cam(x, None), expected)


def test_input_without_a_parameter_to_tell_the_device():
    model = nn.Sequential(nn.ReLU(), nn.Flatten())
    cam = GradCAM(model, [model[0]])
    assert cam.device is None and cam(images(1, 2, 4, 4), None).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("layers", "error", "says"),
    [
        (lambda m: m.act3, TypeError, r"Use \[layer\]"),
        (lambda m: iter([m.act3]), TypeError, r"list\(layers\)"),
        (lambda m: "act3", TypeError, r"Use \[layer\]"),
        (lambda m: None, TypeError, "list"),
        (lambda m: [], ValueError, "at least one"),
        (lambda m: [nn.ReLU()], ValueError, "module of the explained model"),
        (lambda m: [3], ValueError, "target_layers"),
        (lambda m: [m.fc], ValueError, "spatial dimensions"),
        (lambda m: ["act4"], ValueError, "act3"),
    ],
)
def test_bad_layers(layers, error, says):
    model = made(Net)
    with pytest.raises(error, match=says) as caught:
        GradCAM(model, layers(model))(images(1, 3, 14, 17), None)
    assert isinstance(caught.value, rx.InvalidInput)


@pytest.mark.parametrize(
    "x",
    [
        images(3, 14, 17),
        images(0, 3, 14, 17),
        images(1, 3, 14, 17).int(),
        np.zeros((1, 3, 14, 17)),
        (images(1, 3, 9, 9),),
    ],
    ids=["no batch", "no image", "int", "array", "tuple"],
)
def test_bad_inputs(x):
    with pytest.raises(rx.InvalidInput, match="input_tensor"):
        GradCAM(made(Net), ["act3"])(x, None)


def test_series_are_refused_as_the_peer_does():
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    for package in (theirs, ours):
        with pytest.raises(ValueError):
            package.GradCAM(model, [model[1]])(images(1, 2, 8), None)


def test_a_layer_of_other_dimensions_than_the_input():
    model = made(Volumes)
    with pytest.raises(rx.InvalidInput, match="3 spatial dimensions"):
        GradCAM(model, ["act2"], lambda value: value[:, :, 0])(images(1, 2, 9, 11, 7), None)


def test_targets_must_be_named():
    with pytest.raises(TypeError, match="targets"):
        GradCAM(made(Net), ["act3"])(images(1, 3, 14, 17))


def test_the_base_class_has_no_map():
    with pytest.raises(NotImplementedError, match="BaseCAM"):
        ours.BaseCAM(made(Net), ["act3"])(images(1, 3, 14, 17), None)


def test_model_that_is_none():
    with pytest.raises(TypeError, match="model"):
        GradCAM(lambda x: x, ["act3"])
