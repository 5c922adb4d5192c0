"""CAM classes of the user's own: what they override is used, as pytorch-grad-cam uses it, or refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import reluxfast as rx
import reluxfast.compat.grad_cam as ours
from reluxfast.compat.grad_cam.utils.model_targets import ClassifierOutputTarget
from tests.compat.grad_cam.networks import Net, Tokens, Volumes, as_map, images, made
from tests.compat.grad_cam.peer import assert_same_map, signed_components, theirs
from tests.support import assert_untouched, fingerprint

PACKAGES = (theirs, ours)


def random_weights(package):
    class Random(package.base_cam.BaseCAM):
        """Weights from a generator: the documented example of an own method."""

        def __init__(self, model, target_layers, reshape_transform=None):
            super().__init__(model, target_layers, reshape_transform)
            self.seen = []

        def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
            self.seen.append((tuple(input_tensor.shape), target_layer, targets, activations, grads))
            return np.random.default_rng(1).uniform(-1, 1, size=(grads.shape[0], grads.shape[1]))

    return Random


def squared_gradients(package):
    class Squared(package.GradCAM):
        def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
            return np.mean(grads**2, axis=tuple(range(2, grads.ndim))) * np.sign(activations.mean())

    return Squared


def without_gradients(package):
    class Spread(package.base_cam.BaseCAM):
        def __init__(self, model, target_layers, reshape_transform=None):
            super().__init__(model, target_layers, reshape_transform, uses_gradients=False)

        def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
            assert grads is None
            return activations.std(axis=tuple(range(2, activations.ndim)))

    return Spread


def scored_by_spread(package):
    class Spread(package.ScoreCAM):
        def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
            return activations.std(axis=(2, 3)) if activations.ndim == 4 else activations.std(axis=(2, 3, 4))

    return Spread


def doubled_where_positive(package, base="GradCAM"):
    class Doubled(getattr(package, base)):
        def get_cam_weights(self, *arguments):
            weights = super().get_cam_weights(*arguments)
            return np.where(weights > 0, 2 * weights, weights)

    return Doubled


def own_image(package, base="EigenGradCAM"):
    class Image(getattr(package, base)):
        def get_cam_image(self, input_tensor, target_layer, targets, activations, grads, eigen_smooth=False):
            return np.abs(grads * activations).max(axis=1) ** (1 + eigen_smooth)

    return Image


def negated_image(package, base="LayerCAM"):
    class Negated(getattr(package, base)):
        def get_cam_image(self, *arguments):
            image = super().get_cam_image(*arguments)
            return image.max() - image

    return Negated


def own_forward(package):
    class Squared(package.GradCAM):
        def forward(self, input_tensor, targets, eigen_smooth=False):
            return super().forward(input_tensor, targets, eigen_smooth) ** 2

    return Squared


MAKERS = [
    random_weights,
    squared_gradients,
    without_gradients,
    scored_by_spread,
    doubled_where_positive,
    own_image,
    negated_image,
    own_forward,
]


def compare(make, model, layers, x, targets=None, transform=None, **options):
    maps = []
    for package in PACKAGES:
        own = copy.deepcopy(model) if package is theirs else model
        cam = make(package)(own, [own.get_submodule(layer) for layer in layers], reshape_transform=transform)
        with signed_components():
            maps.append(cam(x.clone(), targets, **options))
    assert_same_map(maps[1], maps[0])


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("options", [{}, {"eigen_smooth": True}, {"aug_smooth": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_as_the_peer(make, options, dtype):
    model, x = made(Net, dtype), images(3, 3, 14, 17, dtype=dtype)
    compare(make, model, ["act3"], x, **options)
    compare(make, model, ["conv1", "act3"], x, [ClassifierOutputTarget(i) for i in (1, 4, 0)], **options)


@pytest.mark.parametrize("make", MAKERS[:5], ids=lambda make: make.__name__)
def test_volumes_and_tokens(make):
    compare(make, made(Volumes), ["act2"], images(2, 2, 9, 9, 9))
    compare(make, made(Tokens), ["block"], images(2, 3, 8, 8), transform=as_map)


@pytest.mark.parametrize(
    "base", ["GradCAM", "XGradCAM", "HiResCAM", "LayerCAM", "GradCAMElementWise", "EigenCAM", "EigenGradCAM"]
)
def test_image_of_the_class_derived_from(base):
    compare(
        lambda package: own_image(package, base), made(Net), ["act3"], images(2, 3, 14, 17)
    ) if base != "EigenCAM" else None
    compare(lambda package: negated_image(package, base), made(Net), ["act2"], images(2, 3, 14, 17), eigen_smooth=False)


def test_what_the_method_is_given():
    model, x = made(Net), images(2, 3, 14, 17)
    cam = random_weights(ours)(model, [model.act3])
    before = fingerprint(model)
    cam(x, None)
    shape, layer, targets, activations, grads = cam.seen[0]
    assert shape == (2, 3, 14, 17) and layer is model.act3
    assert [t.category for t in targets] == cam.outputs.argmax(1).tolist()
    assert isinstance(activations, np.ndarray) and activations.shape == grads.shape and activations.dtype == np.float32
    assert_untouched(before, model)


def test_an_object_of_its_own():
    model, x = made(Net), images(2, 3, 14, 17)
    cam = ours.GradCAM(model, [model.act3])
    plain = cam(x, None)
    cam.get_cam_weights = lambda *arguments: -ours.GradCAM.get_cam_weights(cam, *arguments)
    assert not np.allclose(cam(x, None), plain)


@pytest.mark.parametrize(
    "made_weights", [np.ones(7), np.ones((2, 3)), np.ones((2, 7, 1)), np.ones((3, 7)), [1.0], None, "1"], ids=str
)
def test_weights_that_do_not_fit(made_weights):
    class Own(ours.GradCAM):
        def get_cam_weights(self, *arguments):
            return made_weights

    with pytest.raises(rx.InvalidInput, match=r"get_cam_weights must return .* \(2, 7\)"):
        Own(made(Net), ["act3"])(images(2, 3, 14, 17), None)


def test_images_that_do_not_fit():
    class Own(ours.GradCAM):
        def get_cam_image(self, *arguments):
            return np.ones((2, 3))

    with pytest.raises(rx.InvalidInput, match="get_cam_image must return"):
        Own(made(Net), ["act3"])(images(2, 3, 14, 17), None)


@pytest.mark.parametrize("name", ["compute_cam_per_layer", "aggregate_multi_layers", "forward_augmentation_smoothing"])
def test_methods_that_are_never_called(name):
    own = type("Own", (ours.GradCAM,), {name: lambda self, *arguments: None})
    with pytest.raises(NotImplementedError, match=f"Own overrides {name}"):
        own(made(Net), ["act3"])


@pytest.mark.parametrize("name", ["HiResCAM", "LayerCAM", "EigenCAM", "EigenGradCAM", "GradCAMElementWise"])
def test_weights_for_maps_that_have_none(name):
    """pytorch-grad-cam never calls them."""
    own = type("Own", (getattr(ours, name),), {"get_cam_weights": lambda self, *arguments: None})
    with pytest.raises(NotImplementedError, match="Own overrides get_cam_weights"):
        own(made(Net), ["act3"])
    with pytest.raises(NotImplementedError):
        getattr(ours, name)(made(Net), ["act3"]).get_cam_weights(None, None, None, None, None)


@pytest.mark.parametrize("name", ["XGradCAM", "GradCAMPlusPlus", "ScoreCAM", "AblationCAM"])
def test_other_weights_cannot_be_called(name):
    own = doubled_where_positive(ours, name)(made(Net), ["act3"])
    with pytest.raises(NotImplementedError, match="has no get_cam_weights to call"):
        own(images(1, 3, 14, 17), None)


def test_options_of_the_base_class():
    class Own(ours.BaseCAM):
        def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
            return grads.mean((2, 3))

    model, x = made(Net), images(2, 3, 14, 17)
    assert np.array_equal(Own(model, ["act3"], None, False, True, None, True)(x, None), Own(model, ["act3"])(x, None))
    once = [ours.base_cam.Augmentation(False, 1)]
    found = Own(model, ["act3"], tta_transforms=once)(x, None, aug_smooth=True)
    assert np.array_equal(found, Own(model, ["act3"])(x, None))
    for option in ({"compute_input_gradient": True}, {"detach": False}):
        with pytest.raises(NotImplementedError, match=next(iter(option))):
            Own(model, ["act3"], **option)
    with pytest.raises(NotImplementedError, match="activations_and_grads"):
        _ = Own(model, ["act3"]).activations_and_grads
