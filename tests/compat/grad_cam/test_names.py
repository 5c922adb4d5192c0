"""What stands where: modules and names that users import from."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch
from torch import nn

import reluxfast as rx
import reluxfast.compat.grad_cam as ours
from reluxfast.compat.grad_cam.utils import find_layers, model_targets, reshape_transforms
from tests.compat.grad_cam.networks import Net, images, made
from tests.compat.grad_cam.peer import their_targets, theirs
from tests.support import assert_close

CLASSES = [n for n in ours.__all__ if isinstance(getattr(theirs, n, None), type)]


@pytest.mark.parametrize("name", [*CLASSES, "base_cam.BaseCAM"])
def test_each_class_stands_in_its_module(name):
    module, _, name = name.rpartition(".")
    peer = getattr(importlib.import_module(f"pytorch_grad_cam.{module}") if module else theirs, name)
    path = peer.__module__.removeprefix("pytorch_grad_cam")
    found = getattr(importlib.import_module(f"reluxfast.compat.grad_cam{path}"), name)
    assert found is getattr(ours, name)
    expected = list(inspect.signature(peer).parameters)
    assert list(inspect.signature(found).parameters)[: len(expected)] == expected


def test_transforms_of_tokens():
    peer = importlib.import_module("pytorch_grad_cam.utils.reshape_transforms")
    for name, tokens, sizes in (
        ("vit_reshape_transform", images(2, 13, 5), {"height": 3, "width": 4}),
        ("vit_reshape_transform", images(2, 197, 3), {}),
        ("swinT_reshape_transform", images(2, 12, 5), {"height": 3, "width": 4}),
        ("swinT_reshape_transform", images(1, 49, 5), {}),
    ):
        assert_close(getattr(reshape_transforms, name)(tokens, **sizes), getattr(peer, name)(tokens, **sizes), 0)
    for name in ("vit_reshape_transform", "swinT_reshape_transform"):
        with pytest.raises(RuntimeError, match="height"):
            getattr(reshape_transforms, name)(images(1, 10, 4), 2, 2)


def test_layers_by_type_and_by_predicate():
    model = nn.Sequential(made(Net), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))
    peer = importlib.import_module("pytorch_grad_cam.utils.find_layers")
    for name, wanted in (
        ("find_layer_types_recursive", [nn.ReLU, nn.Linear]),
        ("find_layer_predicate_recursive", lambda layer: isinstance(layer, (nn.Conv2d, nn.Sequential))),
    ):
        found, expected = (getattr(m, name)(model, wanted) for m in (find_layers, peer))
        assert len(found) == len(expected) > 1 and all(a is b for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "make",
    [lambda m: m.ClassifierOutputReST(2), lambda m: m.FinerWeightedTarget(1, [0, 3], 0.6)],
    ids=["ClassifierOutputReST", "FinerWeightedTarget"],
)
def test_targets(make):
    for output in (images(5), images(3, 5)):
        assert_close(make(model_targets)(output), make(their_targets)(output), 1e-6)
    model, x = made(Net), images(2, 3, 14, 17)
    found = ours.GradCAM(model, ["act3"])(x, [make(model_targets)] * 2)
    assert (found == ours.GradCAM(model, ["act3"])(x, [make(their_targets)] * 2)).all()
    with pytest.raises(IndexError):
        model_targets.ClassifierOutputReST(7)(torch.ones(5))
    with pytest.raises(rx.InvalidInput, match="comparison_categories"):
        model_targets.FinerWeightedTarget(1, [], 0.6)
