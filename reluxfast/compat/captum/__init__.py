"""Captum's classes over this engine: change `from captum.attr import ...` to `from reluxfast.compat.captum import ...`.

Names, arguments, defaults, shapes, dtypes and types of errors are those of Captum 0.9; Captum need not be installed.
Where it is, these classes are instances of its base classes, and every other name (`visualization`, `GradientShap`) is
its own. What differs on purpose is in docs/swap-in.md.
"""

from typing import Any

from reluxfast.compat.captum.bases import (
    Attribution,
    GradientAttribution,
    LayerAttribution,
    NeuronAttribution,
    PerturbationAttribution,
)
from reluxfast.compat.captum.deep_lift import DeepLift
from reluxfast.compat.captum.gradient import Deconvolution, GuidedBackprop, InputXGradient, Saliency
from reluxfast.compat.captum.guided_grad_cam import GuidedGradCam
from reluxfast.compat.captum.integrated_gradients import IntegratedGradients, LayerIntegratedGradients
from reluxfast.compat.captum.layer import LayerActivation, LayerGradCam, LayerGradientXActivation
from reluxfast.compat.captum.layer_lrp import LayerLRP
from reluxfast.compat.captum.lrp import LRP
from reluxfast.compat.captum.neuron import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop
from reluxfast.compat.captum.noise_tunnel import NoiseTunnel
from reluxfast.compat.captum.patching import Patch, patch
from reluxfast.compat.captum.perturbation import (
    FeatureAblation,
    KernelShap,
    Lime,
    Occlusion,
    ShapleyValues,
    ShapleyValueSampling,
)
from reluxfast.extras import need

__all__ = [
    "LRP",
    "Attribution",
    "Deconvolution",
    "DeepLift",
    "FeatureAblation",
    "GradientAttribution",
    "GuidedBackprop",
    "GuidedGradCam",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerActivation",
    "LayerAttribution",
    "LayerGradCam",
    "LayerGradientXActivation",
    "LayerIntegratedGradients",
    "LayerLRP",
    "Lime",
    "NeuronAttribution",
    "NeuronDeconvolution",
    "NeuronGradient",
    "NeuronGuidedBackprop",
    "NoiseTunnel",
    "Occlusion",
    "patch",
    "Patch",
    "PerturbationAttribution",
    "Saliency",
    "ShapleyValues",
    "ShapleyValueSampling",
]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(need("captum.attr", "captum", "captum", f"captum.attr.{name}"), name)
