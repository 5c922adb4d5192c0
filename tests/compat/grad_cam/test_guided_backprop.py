"""Guided backpropagation against pytorch-grad-cam's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast as rx
from reluxfast.compat.grad_cam import GuidedBackpropReLUModel
from tests.compat.grad_cam.networks import CLASSES, Net, Segmentation, images, made
from tests.compat.grad_cam.peer import theirs
from tests.support import assert_same_bits, assert_untouched, fingerprint


def _peer(model: nn.Module, x: torch.Tensor, category: int | None) -> np.ndarray:
    return theirs.GuidedBackpropReLUModel(copy.deepcopy(model))(x.clone(), category).copy()


def _close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert isinstance(found, np.ndarray) and found.shape == expected.shape and found.dtype == expected.dtype
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max() > 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)], ids=str)
@pytest.mark.parametrize("category", [None, 0, 3, -1])
def test_one_image(dtype, tolerance, category):
    model, x = made(Net, dtype), images(1, 3, 13, 18, dtype=dtype)
    _close(GuidedBackpropReLUModel(model)(x, category), _peer(model, x, category), tolerance)


@pytest.mark.parametrize("relu", [lambda: F.relu, lambda: torch.relu, lambda: lambda x: x.clamp(min=0)], ids=range(3))
def test_functional_relus(relu):
    """pytorch-grad-cam knows the module-written twin only."""
    x = images(1, 3, 13, 18)
    expected = _peer(made(Net), x, 1)
    functional = made(lambda: Net(relu))
    _close(GuidedBackpropReLUModel(functional)(x, 1), expected, 1e-5)
    assert np.abs(_peer(functional, x, 1) - expected).max() > 0.01 * np.abs(expected).max()


def test_batches_are_explained_whole():
    model, x = made(Net, torch.float64), images(4, 3, 13, 18, dtype=torch.float64)
    for category in (None, 2):
        found = GuidedBackpropReLUModel(model)(x, category)
        assert found.shape == (4, 13, 18, 3)
        for i in range(4):
            _close(found[i], _peer(model, x[i : i + 1], category), 1e-9)


def test_repeated_calls_are_the_same():
    """pytorch-grad-cam's second call returns twice the first, in the memory of the first."""
    model, x = made(Net), images(1, 3, 13, 18).requires_grad_()
    before, guided = fingerprint(model), GuidedBackpropReLUModel(model)
    first = guided(x, 1)
    kept = first.copy()
    assert np.array_equal(guided(x, 1), kept) and np.array_equal(first, kept)
    assert x.requires_grad and x.grad is None
    assert_untouched(before, model)


def test_tensor_instead_of_array():
    model, x = made(Net), images(2, 3, 13, 18)
    guided = GuidedBackpropReLUModel(model)
    for some in (x, x[:1]):
        tensor = guided(some, return_tensor=True)
        assert not tensor.requires_grad and np.array_equal(tensor.numpy(), guided(some))
    expected = rx.guided_backprop(model, x, target=guided.forward(x).argmax(1) * 0 + 2).values
    assert_same_bits(guided(x, 2, return_tensor=True).permute(0, 3, 1, 2).contiguous(), expected)


def test_no_such_class():
    x = images(1, 3, 13, 18)
    for category in (CLASSES, -CLASSES - 1):
        with pytest.raises(IndexError):
            _peer(made(Net), x, category)
        with pytest.raises(IndexError, match=f"category.*{category}"):
            GuidedBackpropReLUModel(made(Net))(x, category)


def test_device():
    model = made(Net)
    assert GuidedBackpropReLUModel(model, device="cpu").device == torch.device("cpu")
    with pytest.raises(rx.InvalidInput, match="device must be cpu"):
        GuidedBackpropReLUModel(model, device="meta")


@pytest.mark.parametrize("x", [images(3, 13, 18), images(0, 3, 13, 18), np.zeros((1, 3, 13, 18))], ids=range(3))
def test_what_are_no_images(x):
    with pytest.raises(rx.InvalidInput, match="input_img"):
        GuidedBackpropReLUModel(made(Net))(x)


def test_output_without_classes():
    with pytest.raises(rx.InvalidInput, match="targets"):
        GuidedBackpropReLUModel(made(Segmentation))(images(1, 3, 9, 12))


def test_model_that_is_none():
    with pytest.raises(TypeError, match="model"):
        GuidedBackpropReLUModel(lambda x: x)
