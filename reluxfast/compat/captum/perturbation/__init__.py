"""Captum's methods that ask for outputs alone, over the coalition engine."""

from reluxfast.compat.captum.perturbation.ablation import FeatureAblation
from reluxfast.compat.captum.perturbation.kernel_shap import KernelShap
from reluxfast.compat.captum.perturbation.lime import Lime
from reluxfast.compat.captum.perturbation.occlusion import Occlusion
from reluxfast.compat.captum.perturbation.shapley import ShapleyValues, ShapleyValueSampling
from reluxfast.compat.captum.perturbation.similarity import get_exp_kernel_similarity_function

__all__ = [
    "FeatureAblation",
    "KernelShap",
    "Lime",
    "Occlusion",
    "ShapleyValueSampling",
    "ShapleyValues",
    "get_exp_kernel_similarity_function",
]
