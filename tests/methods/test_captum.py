"""Guided backpropagation and deconvnet against Captum where Captum is right, and where it is not."""

from __future__ import annotations

import dataclasses
import warnings

import captum.attr
import pytest
import torch

import reluxfast as rx
from tests.oracles import gradient
from tests.oracles.inputs import inputs
from tests.support import assert_close, assert_same_bits, relative_error
from tests.zoo import CONSTRUCTS, MODULES

METHODS = {"guided_backprop": captum.attr.GuidedBackprop, "deconvnet": captum.attr.Deconvolution}


def _captum(method, model, x, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Captum announces its hooks
        return METHODS[method](model).attribute(x, target=target).detach()


# Every ReLU is an nn.ReLU module; all but mlp and densenet are in-place in the family itself.
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name",
    ["relu_module", "mlp", "alexnet", "vgg", "vgg_bn", "resnet18", "resnet50", "densenet"]
    + ["googlenet", "inception", "squeezenet", "shufflenet_v2", "mnasnet", "regnet_x", "two_conv_modules"],
)
def test_module_relus(name, method):
    construct = dataclasses.replace(CONSTRUCTS[name], kit=MODULES)
    x = inputs(CONSTRUCTS[name], torch.float32)[0]
    model = construct.model()
    ours = rx.attribute(model, x, target=construct.target, method=method).values
    assert_close(ours, _captum(method, model, x, construct.target), 1e-5, name)  # float32 on both sides


@pytest.mark.parametrize("method", METHODS)
def test_functional_twin(method):
    """The same network written with F.relu: ours has the same bits, Captum returns the plain gradient."""
    functional, modules = CONSTRUCTS["two_conv_functional"], CONSTRUCTS["two_conv_modules"]
    x = inputs(modules, torch.float32)[0]
    first, second = functional.model(), modules.model()
    for (_, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert_same_bits(a.detach(), b.detach(), "the twins' parameters")
    ours = rx.attribute(second, x, target=7, method=method).values
    assert_same_bits(rx.attribute(first, x, target=7, method=method).values, ours, "functional twin")
    theirs = _captum(method, second, x, 7)
    assert_close(ours, theirs, 1e-5, "modules")
    silent = _captum(method, first, x, 7)
    plain = gradient.attribute(functional, (x,), "gradient")[0]
    assert_close(silent, plain, 1e-5, "Captum on functional ReLUs is the gradient")
    assert relative_error(silent, theirs) > 0.1
    assert relative_error(rx.gradient(first, x, target=7).values, ours) > 0.1


@pytest.mark.parametrize("name", ["relu_on_branches", "relu_in_sequence"])
def test_where_captum_is_wrong_on_modules(name):
    """Deconvnet: hooks of two calls of one ReLU are mixed up, and a ReLU right after a ReLU sees the signal unruled."""
    construct = CONSTRUCTS[name]
    x = inputs(construct, torch.float64)[0]
    model = construct.model(torch.float64)
    expected = gradient.attribute(construct, (x,), "deconvnet")[0]
    assert_close(rx.deconvnet(model, x, target=1).values, expected, 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        theirs = captum.attr.Deconvolution(model).attribute(x, target=1).detach()
    assert relative_error(theirs, expected) > 1e-3


@pytest.mark.parametrize("name", ["relu_module", "resnet18", "mobilenet_v3", "multihead_attention"])
def test_gradient_and_integrated_gradients(name):
    construct = CONSTRUCTS[name]
    x = inputs(construct, torch.float64)[0]
    model = construct.model(torch.float64)
    theirs = captum.attr.Saliency(model).attribute(x.clone().requires_grad_(), target=1, abs=False).detach()
    assert_close(rx.gradient(model, x, target=1).values, theirs, 1e-12, "Saliency")
    product = captum.attr.InputXGradient(model).attribute(x.clone().requires_grad_(), target=1).detach()
    assert_close(rx.input_x_gradient(model, x, target=1).values, product, 1e-12, "InputXGradient")
    theirs = captum.attr.IntegratedGradients(model).attribute(x, target=1, n_steps=12, method="gausslegendre").detach()
    ours = rx.integrated_gradients(model, x, target=1, n_steps=12, quadrature="gauss_legendre").values
    assert_close(ours, theirs, 1e-7, "IntegratedGradients")  # Captum rounds its points to float32
