"""Pictures against pytorch-grad-cam's, to the last unit."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

import reluxfast as rx
import reluxfast.compat.grad_cam.utils.image as ours
from tests.compat.grad_cam.peer import their_image as theirs
from tests.support import assert_same_bits


def _picture(dtype, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(dtype)


@pytest.mark.parametrize("use_rgb", [False, True])
@pytest.mark.parametrize("colormap", [None, cv2.COLORMAP_JET, cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_HOT])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_show_cam_on_image(use_rgb, colormap, dtype):
    more = {} if colormap is None else {"colormap": colormap}
    for weight in (0, 0.3, 0.5, 1):
        img, mask = _picture(dtype, 37, 53, 3), _picture(np.float32, 37, 53, seed=1)
        found = ours.show_cam_on_image(img, mask, use_rgb, image_weight=weight, **more)
        expected = theirs.show_cam_on_image(img, mask, use_rgb, image_weight=weight, **more)
        assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_every_level_of_jet():
    levels = (np.arange(256, dtype=np.float64) + 0.5).reshape(16, 16) / 256
    img = np.zeros((16, 16, 3), np.float32)
    assert ours.COLORMAP_JET == cv2.COLORMAP_JET and len(np.unique(np.uint8(255 * levels))) == 255
    assert np.array_equal(ours.show_cam_on_image(img, levels), theirs.show_cam_on_image(img, levels))
    every = np.arange(256, dtype=np.uint8)[:, None]
    assert np.array_equal(ours._jet()[every], cv2.applyColorMap(every, cv2.COLORMAP_JET))


@pytest.mark.parametrize(
    ("img", "mask", "weight"),
    [
        (np.full((4, 5, 3), 1.5), np.zeros((4, 5)), 0.5),
        (np.full((4, 5, 3), 200, np.uint8), np.zeros((4, 5)), 0.5),
        (np.zeros((4, 5, 3)), np.zeros((4, 5)), 1.5),
        (np.zeros((4, 5, 3)), np.zeros((4, 5)), -0.1),
        (np.zeros((4, 5, 3)), np.zeros((5, 4)), 0.5),
    ],
)
def test_errors(img, mask, weight):
    for module in (theirs, ours):
        with pytest.raises(Exception) as caught:
            module.show_cam_on_image(img, mask, image_weight=weight)
    assert isinstance(caught.value, rx.InvalidInput)


@pytest.mark.parametrize("mask", [np.full((4, 5), 1.2), np.full((4, 5), -0.1), np.full((4, 5), np.nan)])
def test_masks_that_colours_would_wrap(mask):
    with pytest.raises(rx.InvalidInput, match="mask"):
        ours.show_cam_on_image(np.zeros((4, 5, 3)), mask)


def test_preprocess_image():
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    for img in (
        _picture(np.float32, 9, 7, 3),
        _picture(np.float64, 9, 7, 3),
        np.uint8(255 * _picture(np.float32, 9, 7, 3)),
        _picture(np.float32, 9, 7, 3)[::-1],
    ):
        assert_same_bits(ours.preprocess_image(img), theirs.preprocess_image(img))
        assert_same_bits(ours.preprocess_image(img, mean, std), theirs.preprocess_image(img, mean=mean, std=std))
    grey = _picture(np.float32, 9, 7)
    assert_same_bits(ours.preprocess_image(grey, [0.5], [0.5]), theirs.preprocess_image(grey, [0.5], [0.5]))


@pytest.mark.parametrize(
    ("img", "more"),
    [
        (np.zeros((1, 3, 4, 4)), {}),
        (torch.zeros(4, 4, 3), {}),
        (np.zeros((4, 4, 3), np.int64), {}),
        (np.zeros((4, 4, 3)), {"std": [0, 1, 1]}),
        (np.zeros((4, 4, 3)), {"mean": [0, 1]}),
    ],
)
def test_preprocess_image_refuses(img, more):
    with pytest.raises(rx.InvalidInput):
        ours.preprocess_image(img, **more)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deprocess_image(dtype):
    img = np.random.default_rng(2).normal(0.3, 2.0, (17, 13, 3)).astype(dtype)
    img[0, 0] = 50
    for some in (img, img[:, :, 0], np.zeros_like(img)):
        found = ours.deprocess_image(some)
        assert found.dtype == np.uint8 and np.array_equal(found, theirs.deprocess_image(some))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 5, 7), None),
        ((2, 5, 7), (33, 17)),
        ((2, 1, 1), (4, 3)),
        ((1, 30, 41), (8, 9)),
        ((1, 40, 30), (30, 13)),
        ((2, 8, 8), (4, 4)),
        ((2, 3, 4, 5), (11, 9, 7)),
        ((1, 9, 8, 7), (4, 5, 3)),
        ((1, 2, 1, 3), (6, 2, 5)),
        ((1, 4, 4, 4), (4, 4, 4)),
        ((1, 3, 4, 5), (1, 4, 8)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_cam_image(shape, size, dtype):
    cam = np.random.default_rng(3).normal(0, 3, shape).astype(dtype)
    found, expected = ours.scale_cam_image(cam, size), theirs.scale_cam_image(cam, size)
    assert found.dtype == expected.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1e-3)


_ALONE = """
import sys
for name in ("pytorch_grad_cam", "cv2", "torchvision", "ttach", "scipy"):
    sys.modules[name] = None
import numpy as np, torch
from reluxfast.compat.grad_cam import GradCAM, GuidedBackpropReLUModel
from reluxfast.compat.grad_cam.utils.image import show_cam_on_image
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
x = torch.rand(1, 3, 8, 8)
cam = GradCAM(model, [model[1]])(x, None, aug_smooth=True)[0]
img = x[0].permute(1, 2, 0).numpy()
assert show_cam_on_image(img, cam, use_rgb=True).shape == GuidedBackpropReLUModel(model)(x).shape == (8, 8, 3)
try:
    show_cam_on_image(img, cam, colormap=11)
except ValueError as error:
    assert "OpenCV" in str(error) and "pip install" in str(error)
else:
    raise AssertionError("another colour map without OpenCV")
"""


def test_nothing_else_is_needed():
    """Neither pytorch-grad-cam nor what it needs."""
    done = subprocess.run([sys.executable, "-c", _ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
