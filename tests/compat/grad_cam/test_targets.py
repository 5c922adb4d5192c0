"""Targets: the ready-made ones, callables of one's own, and what is refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast.compat.grad_cam as ours
import reluxfast.compat.grad_cam.utils.model_targets as our_targets
from tests.compat.grad_cam.networks import Net, Segmentation, images, made
from tests.compat.grad_cam.peer import assert_same_map, their_targets, theirs
from tests.support import assert_same_bits

NAMES = ("GradCAM", "LayerCAM", "ScoreCAM", "AblationCAM")


def _both(name: str, model: nn.Module, layer: str, x: torch.Tensor, own: list, peers: list) -> None:
    copied = copy.deepcopy(model)
    expected = getattr(theirs, name)(copied, [copied.get_submodule(layer)])(x.clone(), peers)
    assert_same_map(getattr(ours, name)(model, [layer])(x, own), expected)


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_classifiers(name):
    model, x = made(Net), images(2, 3, 14, 17)
    for kind in ("ClassifierOutputTarget", "ClassifierOutputSoftmaxTarget"):
        own, peers = ([getattr(module, kind)(k) for k in (2, -1)] for module in (our_targets, their_targets))
        _both(name, model, "act3", x, own, peers)
        _both(name, model, "act3", x, peers, own)


@pytest.mark.parametrize("name", NAMES)
def test_one_output(name):
    """A model with one output, (N, 1) or (N,)."""
    for squeezed in (False, True):

        class One(Net):
            def forward(self, x, squeezed=squeezed):
                found = super().forward(x)[:, 2:3]
                return found[:, 0] if squeezed else found

        model, x = made(One), images(2, 3, 14, 17)
        raw, sign = "RawScoresOutputTarget", "BinaryClassifierOutputTarget"
        _both(name, model, "act3", x, [getattr(our_targets, raw)()] * 2, [getattr(their_targets, raw)()] * 2)
        own, peers = ([getattr(module, sign)(k) for k in (0, 1)] for module in (our_targets, their_targets))
        _both(name, model, "act3", x, own, peers)


@pytest.mark.parametrize("name", NAMES)
def test_segmentation(name):
    model, x = made(Segmentation), images(2, 3, 9, 12)
    masks = [np.float32(np.random.default_rng(k).random((9, 12)) > 0.5) for k in range(2)]
    own, peers = (
        [module.SemanticSegmentationTarget(k + 1, mask) for k, mask in enumerate(masks)]
        for module in (our_targets, their_targets)
    )
    _both(name, model, "act", x, own, peers)


@pytest.mark.parametrize("name", NAMES)
def test_callables_of_ones_own(name):
    model, x = made(Net), images(2, 3, 14, 17)
    targets = [lambda output: output[1] - output[3], lambda output: (output**2).sum()]
    _both(name, model, "act3", x, targets, targets)


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
def test_values_of_targets(shape):
    output = images(*shape)
    for kind in ("ClassifierOutputTarget", "ClassifierOutputSoftmaxTarget", "BinaryClassifierOutputTarget"):
        for category in (0, 1, -2):
            own, peers = (getattr(module, kind)(category) for module in (our_targets, their_targets))
            assert own.category == category
            assert_same_bits(own(output), peers(output), kind)
    for kind in ("SoftmaxOutputTarget", "RawScoresOutputTarget"):
        own, peers = (getattr(module, kind)() for module in (our_targets, their_targets))
        assert_same_bits(own(output), peers(output), kind)


def test_fewer_targets_than_images_are_refused():
    """pytorch-grad-cam explains the first image and returns zeros for the others."""
    model, x = made(Net), images(3, 3, 14, 17)
    target, copied = our_targets.ClassifierOutputTarget(1), copy.deepcopy(model)
    assert not theirs.GradCAM(copied, [copied.act3])(x.clone(), [target])[1:].any()
    for targets in ([target], [target] * 4, []):
        with pytest.raises(ValueError, match=r"one entry per image \(3\)"):
            ours.GradCAM(model, [model.act3])(x, targets)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("target", "error"),
    [
        (lambda: our_targets.ClassifierOutputTarget(9), IndexError),
        (lambda: our_targets.RawScoresOutputTarget(), RuntimeError),
        (lambda: 3, TypeError),
    ],
    ids=["no such class", "not one number", "not callable"],
)
def test_error_types_of_the_peer(name, target, error):
    model, x = made(Net), images(1, 3, 14, 17)
    copied = copy.deepcopy(model)
    with pytest.raises(error):
        getattr(theirs, name)(copied, [copied.act3])(x.clone(), [target()])
    with pytest.raises(error) as caught:
        getattr(ours, name)(model, [model.act3])(x, [target()])
    assert isinstance(caught.value, ValueError) and str(caught.value).startswith(("targets ", "category "))


def test_constant_target():
    with pytest.raises(RuntimeError, match="depend on the output"):
        ours.GradCAM(made(Net), ["act3"])(images(1, 3, 14, 17), [lambda output: torch.ones(())])


def test_single_callable():
    with pytest.raises(TypeError, match="list"):
        ours.GradCAM(made(Net), ["act3"])(images(1, 3, 14, 17), our_targets.ClassifierOutputTarget(1))


def test_largest_class_needs_classes():
    with pytest.raises(ValueError, match=r"\(N, 5, 9, 12\)"):
        ours.GradCAM(made(Segmentation), ["act"])(images(1, 3, 9, 12), None)
