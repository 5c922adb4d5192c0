"""Grad-CAM and Guided Grad-CAM against the oracle and against Captum."""

from __future__ import annotations

import dataclasses
import math

import captum.attr
import pytest
import torch
import torch.nn.functional as F

import reluxfast as rx
from tests.oracles import cam as oracle
from tests.oracles import gradient
from tests.oracles.inputs import inputs
from tests.relevance.cases import case
from tests.support import assert_close, assert_same_bits
from tests.zoo import CONSTRUCTS, MODULES

# construct, layer: convolutions before a batch norm, in-place ReLUs after them, whole blocks, pools, reused modules.
LAYERS = [
    ("relu_module", "conv1"),
    ("relu_module", "bn"),
    ("relu_module", "act1"),
    ("relu_module", "pool"),
    ("relu_module", "conv2"),
    ("vgg_bn", "0.0"),
    ("vgg_bn", "0"),
    ("vgg_bn", "1"),
    ("resnet18", "conv1"),
    ("resnet18", "layer1"),
    ("resnet18", "layer1.0"),
    ("resnet18", "layer2.0.conv1"),
    ("resnet18", "layer2.0.bn2"),
    ("resnet18", "layer2.0.downsample.0"),
    ("resnet18", "layer2.1"),
    ("resnet50", "layer2.1.conv2"),
    ("densenet", "layers.1"),
    ("densenet", "layers.1.conv1"),
    ("densenet", "norm"),
    ("googlenet", "2"),
    ("googlenet", "3.branch2.1.conv"),
    ("squeezenet", "4.squeeze"),
    ("shufflenet_v2", "stage.1"),
    ("mobilenet_v2", "last.0"),
    ("mobilenet_v3", "blocks.1.excite"),
    ("conv_used_by_norm_and_elsewhere", "conv"),
    ("conv_read_by_two_norms", "conv"),
    ("segmentation_output", "a"),
    ("bn1d_after_conv", "0.0"),
    ("bn3d_after_conv", "0.0"),
    ("conv1d_dilated", "0.2"),
    ("relu6_inplace", "a"),
    ("gelu", "0.0"),
]


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_grad_cam(name, layer):
    found = case(name, torch.float64)
    target = found.construct.target
    for options in ({}, {"relu": False}, {"upsample": False}, {"normalize": True}, {"relu": False, "upsample": False}):
        expected = oracle.grad_cam(found.construct, found.inputs, layer, target, **options) if _plane(found) else None
        if expected is None:
            expected = _other_dimensions(found, layer, options)
        result = found.attribute("grad_cam", layer=layer, **options)
        assert_close(result.values, expected, 1e-12, f"{layer}, {options}")
        assert result.values.shape[1] == 1
        by_module = found.attribute("grad_cam", layer=found.model.get_submodule(layer), **options)
        assert_same_bits(by_module.values, result.values, "by module object")


def _plane(found) -> bool:
    return found.inputs[0].dim() == 4


def _other_dimensions(found, layer: str, options: dict) -> torch.Tensor:
    """1 and 3 spatial dimensions: linear and trilinear instead of bilinear."""
    upsample = options.get("upsample", True)
    plain = {k: v for k, v in options.items() if k not in ("upsample", "normalize")}
    map_ = oracle.grad_cam(found.construct, found.inputs, layer, found.construct.target, upsample=False, **plain)
    if upsample:
        mode = {3: "linear", 5: "trilinear"}[map_.dim()]
        map_ = F.interpolate(map_, size=found.inputs[0].shape[2:], mode=mode, align_corners=False)
    if options.get("normalize"):
        map_ = map_ / map_.flatten(1).amax(1).clamp(min=1e-300).reshape(-1, *(1,) * (map_.dim() - 1))
    return map_


@pytest.mark.parametrize(("name", "layer"), [n for n in LAYERS if n[0] not in ("bn1d_after_conv", "bn3d_after_conv")])
def test_guided_grad_cam(name, layer):
    found = case(name, torch.float64)
    if not _plane(found):
        guided = gradient.attribute(found.construct, found.inputs, "guided_backprop")[0]
        expected = guided * _other_dimensions(found, layer, {})
    else:
        expected = oracle.guided_grad_cam(found.construct, found.inputs, layer, found.construct.target)
    assert_close(found.attribute("guided_grad_cam", layer=layer).values, expected, 1e-12, layer)


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("conv_and_norm_called_twice", "block"),
        ("conv_and_norm_called_twice", "block.0"),
        ("conv_and_norm_called_twice", "block.1"),
        ("shared_conv_two_norms", "conv"),
        ("conv_in_sequence", "conv"),
        ("relu_on_branches", "relu"),
        ("conv_on_branches", "conv"),
        ("pool_reused", "pool"),
    ],
)
def test_calls_of_reused_layers(name, layer, call):
    found = case(name, torch.float64)
    options = {"upsample": False, "relu": False}
    expected = oracle.grad_cam(found.construct, found.inputs, layer, found.construct.target, call=call - 1, **options)
    result = found.attribute("grad_cam", layer=f"{layer}#{call}", **options)
    assert_close(result.values, expected, 1e-12)
    with pytest.raises(rx.InvalidInput, match="#1"):
        found.attribute("grad_cam", layer=layer)


def test_flat_map_stays_zero():
    """A map that is 0 everywhere is returned as zeros, also normalised."""
    found = case("relu_module", torch.float64)
    model = found.construct.model(torch.float64)
    with torch.no_grad():
        model.fc2.weight.zero_()
    values = rx.grad_cam(model, found.x, target=1, layer="conv2", normalize=True).values
    assert torch.equal(values, torch.zeros(2, 1, 8, 8).double())


@pytest.mark.parametrize(
    ("layer", "says"),
    [("conv9", "conv1"), ("fc1", "map"), ("", None), (3, "module"), ("conv1#2", "1 time"), (torch.nn.ReLU(), "module")],
    ids=str,
)
def test_wrong_layers(layer, says):
    found = case("relu_module", torch.float64)
    with pytest.raises(rx.InvalidInput, match=says or "layer"):
        found.attribute("grad_cam", layer=layer)


def test_layer_that_the_output_does_not_depend_on():
    class Aside(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.aside = torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(1, 2, 1)

        def forward(self, x):
            self.aside(x)
            return self.used(x).relu().mean((2, 3))

    with pytest.raises(rx.InvalidInput, match="layer"):
        rx.grad_cam(Aside(), torch.randn(1, 1, 4, 4), target=0, layer="aside")


CAPTUM = [
    ("relu_module", "conv1"),
    ("relu_module", "conv2"),
    ("vgg_bn", "0.0"),
    ("resnet18", "conv1"),
    ("resnet18", "layer2.1.conv2"),
    ("densenet", "layers.2.conv2"),
    ("googlenet", "2.branch1.conv"),
]


@pytest.mark.parametrize(("name", "layer"), CAPTUM)
def test_against_captum(name, layer):
    """Captum's map has no ReLU and is not upsampled; its Guided Grad-CAM upsamples by nearest."""
    construct = dataclasses.replace(CONSTRUCTS[name], kit=MODULES)
    x = inputs(CONSTRUCTS[name], torch.float64)[0]
    model = construct.model(torch.float64)
    module = model.get_submodule(layer)
    theirs = captum.attr.LayerGradCam(model, module).attribute(x, target=1).detach()
    ours = rx.grad_cam(model, x, target=1, layer=layer, relu=False, upsample=False).values
    assert_close(ours, theirs, 1e-12, "LayerGradCam")
    guided = captum.attr.GuidedBackprop(model).attribute(x, target=1).detach()
    up = F.interpolate(theirs.clamp(min=0), size=x.shape[2:], mode="bilinear", align_corners=False)
    product = rx.guided_grad_cam(model, x, target=1, layer=layer).values
    assert_close(product, guided * up, 1e-12, "Guided Grad-CAM by parts")
    if theirs.shape[2:] == x.shape[2:]:
        whole = captum.attr.GuidedGradCam(model, module).attribute(x, target=1).detach()
        assert_close(product, whole, 1e-12, "GuidedGradCam")
    else:
        nearest = F.interpolate(theirs.clamp(min=0), size=x.shape[2:])
        whole = captum.attr.GuidedGradCam(model, module).attribute(x, target=1).detach()
        assert_close(whole, guided * nearest, 1e-12, "what GuidedGradCam is")


def test_nan_stays_visible():
    found = case("relu_module", torch.float64)
    x = found.x.clone()
    x[0, 0, 0, 0] = math.nan
    with pytest.warns(UserWarning, match=r"\b1\b"):
        values = found.explainer.attribute(x, 1, "grad_cam", layer="conv2").values
    assert values[0].isnan().all() and values[1].isfinite().all()
