"""Every adapter once, as its users call it, on a small network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reluxfast.compat import captum, grad_cam, shap, zennit
from tests.compat.captum.models import CNN, MLP, built, rows

Explain = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Adapter:
    """Attributes:
    make: model -> function of inputs that explains them.
    network: "cnn" or "mlp".
    random: whether it draws from PyTorch's or numpy's own generator, so that threads share its numbers.
    needs: package that it cannot do without.
    out_of_range: model -> a call of the same class that must fail; None: it takes no target.
    """

    make: Callable[[nn.Module], Explain]
    network: str = "cnn"
    random: bool = False
    out_of_range: Callable[[nn.Module, Tensor], Any] | None = None
    needs: str = ""

    def model(self) -> nn.Module:
        """The network, in eval mode."""
        return built(CNN if self.network == "cnn" else MLP)

    def inputs(self, count: int = 2) -> Tensor:
        """Rows (N, ...) for it."""
        return rows(((3, 11, 9),) if self.network == "cnn" else ((7,),), count)[0]


def tensors(found: Any) -> list[Tensor]:
    """All numbers of a result."""
    if isinstance(found, (tuple, list)):
        return [t for part in found for t in tensors(part)]
    return [found if isinstance(found, Tensor) else torch.as_tensor(np.asarray(getattr(found, "values", found)))]


def _captum(name: str, *construct: Any, layer: str = "", network: str = "cnn", random: bool = False, **options: Any):
    kind = getattr(captum, name)
    targets = {} if name in ("LayerActivation",) or name.startswith("Neuron") else {"target": 1}

    def attributor(model: nn.Module) -> Any:
        return kind(model, *([getattr(model, layer)] if layer else []), *construct)

    def fails(model: nn.Module, x: Tensor) -> None:
        attributor(model).attribute(
            x, **({**options, "target": 99} if targets else {**options, "neuron_selector": (99, 0, 0)})
        )

    def make(model: nn.Module) -> Explain:
        return lambda x: attributor(model).attribute(x, **targets, **options)

    needs = "sklearn" if name == "Lime" else ""
    return Adapter(make, network, random, None if name == "LayerActivation" else fails, needs)


def _noise(model: nn.Module) -> Explain:
    return lambda x: captum.NoiseTunnel(captum.Saliency(model)).attribute(x, nt_samples=3, target=1)


def _zennit(kind: Any, composite: Callable[[], Any] | None, **options: Any) -> Adapter:
    def attributor(model: nn.Module) -> Any:
        return kind(model, composite() if composite else None, **options)

    def make(model: nn.Module) -> Explain:
        return lambda x: attributor(model)(x, torch.eye(4)[[1] * len(x)])[1]

    def fails(model: nn.Module, x: Tensor) -> None:
        attributor(model)(x, torch.ones(len(x), 99))

    return Adapter(make, random=kind is zennit.SmoothGrad, out_of_range=fails)


def _cam(name: str) -> Adapter:
    def make(model: nn.Module, target: int = 1) -> Explain:
        targets = grad_cam.ClassifierOutputTarget(target)
        kind = getattr(grad_cam, name)
        return lambda x: kind(model, [model.conv2])(input_tensor=x, targets=[targets] * len(x))

    fails = None if name == "EigenCAM" else lambda model, x: make(model, 99)(x)
    return Adapter(make, out_of_range=fails)


def _guided(model: nn.Module, target: int = 1) -> Explain:
    return lambda x: grad_cam.GuidedBackpropReLUModel(model)(x[:1], target)


def _tabular(kind: str, **options: Any) -> Adapter:
    def make(model: nn.Module) -> Explain:
        background = rows(((7,),), 4)[0].numpy()
        return lambda x: getattr(shap, kind)(model, background).shap_values(x.numpy(), **options)

    return Adapter(make, "mlp")


def _deep(kind: str, **options: Any) -> Adapter:
    def make(model: nn.Module) -> Explain:
        background = rows(((3, 11, 9),), 3)[0].flip(0)
        return lambda x: getattr(shap, kind)(model, background).shap_values(x, **options)

    return Adapter(make)


_CONV = {"layer": "conv2"}
_NEURON = {"layer": "conv2", "neuron_selector": (1, 0, 0)}
_MASK = {"feature_mask": torch.arange(99).view(1, 1, 11, 9) // 20}

ADAPTERS: dict[str, Adapter] = {
    "captum.Saliency": _captum("Saliency"),
    "captum.InputXGradient": _captum("InputXGradient"),
    "captum.GuidedBackprop": _captum("GuidedBackprop"),
    "captum.Deconvolution": _captum("Deconvolution"),
    "captum.LRP": _captum("LRP"),
    "captum.LayerLRP": _captum("LayerLRP", **_CONV),
    "captum.LayerGradCam": _captum("LayerGradCam", **_CONV),
    "captum.GuidedGradCam": _captum("GuidedGradCam", **_CONV),
    "captum.LayerGradientXActivation": _captum("LayerGradientXActivation", **_CONV),
    "captum.LayerActivation": _captum("LayerActivation", **_CONV),
    "captum.NeuronGradient": _captum("NeuronGradient", **_NEURON),
    "captum.NeuronGuidedBackprop": _captum("NeuronGuidedBackprop", **_NEURON),
    "captum.NeuronDeconvolution": _captum("NeuronDeconvolution", **_NEURON),
    "captum.IntegratedGradients": _captum("IntegratedGradients", n_steps=5),
    "captum.LayerIntegratedGradients": _captum("LayerIntegratedGradients", n_steps=5, **_CONV),
    "captum.NoiseTunnel": Adapter(
        _noise, random=True, out_of_range=lambda m, x: captum.NoiseTunnel(captum.Saliency(m)).attribute(x, target=99)
    ),
    "captum.DeepLift": _captum("DeepLift"),
    "captum.FeatureAblation": _captum("FeatureAblation", **_MASK),
    "captum.Occlusion": _captum("Occlusion", sliding_window_shapes=(3, 5, 5), strides=(3, 3, 2)),
    "captum.ShapleyValueSampling": _captum("ShapleyValueSampling", random=True, n_samples=3, **_MASK),
    "captum.ShapleyValues": _captum("ShapleyValues", **_MASK),
    "captum.KernelShap": _captum("KernelShap", random=True, n_samples=20, **_MASK),
    "captum.Lime": _captum("Lime", random=True, n_samples=20, **_MASK),
    "zennit.Gradient": _zennit(zennit.Gradient, None),
    "zennit.Gradient, EpsilonPlus": _zennit(zennit.Gradient, zennit.EpsilonPlus),
    "zennit.Gradient, EpsilonAlpha2Beta1Flat": _zennit(zennit.Gradient, zennit.EpsilonAlpha2Beta1Flat),
    "zennit.Gradient, GuidedBackprop": _zennit(zennit.Gradient, zennit.GuidedBackprop),
    "zennit.SmoothGrad": _zennit(zennit.SmoothGrad, zennit.EpsilonPlus, n_iter=3),
    "zennit.IntegratedGradients": _zennit(zennit.IntegratedGradients, None, n_iter=3),
    "zennit.Occlusion": _zennit(zennit.Occlusion, None, window=4, stride=3),
    **{
        f"grad_cam.{name}": _cam(name)
        for name in ("GradCAM GradCAMPlusPlus XGradCAM HiResCAM LayerCAM EigenCAM ScoreCAM AblationCAM").split()
    },
    "grad_cam.GuidedBackpropReLUModel": Adapter(_guided, out_of_range=lambda model, x: _guided(model, 99)(x)),
    "shap.PermutationExplainer": _tabular("PermutationExplainer", npermutations=2),
    "shap.ExactExplainer": Adapter(
        lambda m: lambda x: shap.ExactExplainer(m, rows(((7,),), 4)[0].numpy())(x.numpy()), "mlp", needs="shap"
    ),
    "shap.KernelExplainer": _tabular("KernelExplainer", nsamples=80, l1_reg=False),
    "shap.GradientExplainer": _deep("GradientExplainer", nsamples=4, rseed=0),
    "shap.DeepExplainer": _deep("DeepExplainer"),
}


def parameters(names: Iterable[str]) -> list[Any]:
    """Names as pytest's parameters; what an adapter cannot do without is a reason to skip it."""
    found = []
    for name in names:
        needs = ADAPTERS[name].needs
        lacking = bool(needs) and importlib.util.find_spec(needs) is None
        found.append(pytest.param(name, marks=pytest.mark.skipif(lacking, reason=f"{needs} is not installed")))
    return found
