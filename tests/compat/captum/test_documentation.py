"""What Captum's documentation shows, with another import, and its own tools around our classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reluxfast.compat.captum import (
    LRP,
    DeepLift,
    FeatureAblation,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    LayerAttribution,
    LayerGradCam,
    LayerIntegratedGradients,
    NeuronGradient,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from tests.compat.captum.models import case

metrics = pytest.importorskip("captum.metrics", reason="captum is not installed: nothing is compared with it")


class ToyModel(nn.Module):
    """The network of the introduction: two maps of the same three features."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1, self.relu, self.lin2 = nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)
        self.lin1.weight = nn.Parameter(torch.arange(-4.0, 5.0).view(3, 3))
        self.lin1.bias = nn.Parameter(torch.zeros(1, 3))
        self.lin2.weight = nn.Parameter(torch.arange(-3.0, 3.0).view(2, 3))
        self.lin2.bias = nn.Parameter(torch.ones(1, 2))

    def forward(self, input):
        return self.lin2(self.relu(self.lin1(input)))


def test_the_introduction():
    model = ToyModel()
    model.eval()
    torch.manual_seed(123)
    input, baseline = torch.rand(2, 3), torch.zeros(2, 3)
    attributions, delta = IntegratedGradients(model).attribute(input, baseline, target=0, return_convergence_delta=True)
    assert attributions.shape == (2, 3) and delta.abs().max() < 1e-2
    smooth, delta = NoiseTunnel(IntegratedGradients(model)).attribute(
        input,
        nt_type="smoothgrad",
        stdevs=0.02,
        nt_samples=4,
        baselines=baseline,
        target=0,
        return_convergence_delta=True,
    )
    assert smooth.shape == (2, 3) and delta.shape == (8,)
    neurons, delta = LayerIntegratedGradients(model, model.lin1).attribute(
        input, baseline, target=0, return_convergence_delta=True
    )
    assert neurons.shape == (2, 3) and delta.abs().max() < 1e-2
    deep, delta = DeepLift(model).attribute(input, baseline, target=0, return_convergence_delta=True)
    assert (
        torch.allclose(deep.sum(1), model(input)[:, 0] - model(baseline)[:, 0], atol=1e-5) and delta.abs().max() < 1e-5
    )
    assert NeuronGradient(model, model.lin1).attribute(input, neuron_selector=1).shape == (2, 3)


def test_an_image_classifier():
    model, (image,) = case("cnn", count=1)
    label = int(model(image).argmax())
    for value in (
        Saliency(model).attribute(image, target=label),
        GuidedBackprop(model).attribute(image, target=label),
        InputXGradient(model).attribute(image, target=label),
        LRP(model).attribute(image, target=label),
        GuidedGradCam(model, model.conv2).attribute(image, label),
        Occlusion(model).attribute(
            image, strides=(3, 3, 3), target=label, sliding_window_shapes=(3, 5, 5), baselines=0
        ),
        NoiseTunnel(IntegratedGradients(model)).attribute(image, nt_samples=3, nt_type="smoothgrad_sq", target=label),
    ):
        assert value.shape == image.shape and value.abs().sum() > 0
    cam = LayerGradCam(model, model.conv2).attribute(image, label)
    assert LayerAttribution.interpolate(cam, image.shape[2:]).shape == (1, 1, 11, 9)
    assert LayerActivation(model, model.conv2).attribute(image).shape[1] == 8


def test_groups_of_features():
    model, (x,) = case("mlp")
    mask = torch.tensor([[0, 0, 1, 1, 2, 2, 2]])
    for kind in (FeatureAblation, ShapleyValueSampling):
        value = kind(model).attribute(x, target=1, feature_mask=mask, perturbations_per_eval=2)
        assert value.shape == x.shape and torch.equal(value[:, 0], value[:, 1])


@pytest.mark.parametrize("kind", [Saliency, InputXGradient, GuidedBackprop, IntegratedGradients, LRP, DeepLift])
def test_captums_metrics_take_ours(kind):
    model, (x,) = case("cnn")
    method = kind(model)

    def perturbed(inputs):
        noise = 0.1 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
        return noise, inputs - noise

    attributions = method.attribute(x, target=1)
    torch.manual_seed(0)
    assert metrics.infidelity(model, perturbed, x, attributions, target=1).shape == (3,)
    sensitivity = metrics.sensitivity_max(method.attribute, x, target=1, n_perturb_samples=2)
    assert sensitivity.shape == (3,) and (sensitivity > 0).all()


def test_captums_other_wrappers_take_ours():
    """Feature permutation and concept code build on classes of `captum.attr`; a layer wrapper around ours runs."""
    from captum.attr import visualization

    model, (image,) = case("cnn", count=1)
    value = GuidedBackprop(model).attribute(image, 1)[0].permute(1, 2, 0).numpy()
    figure, _ = visualization.visualize_image_attr(
        value, image[0].permute(1, 2, 0).numpy(), sign="all", use_pyplot=False
    )
    assert figure.axes
