"""Explainers by their long and their short names. Names that are not ours are those of shap itself."""

from __future__ import annotations

from typing import Any

from reluxfast.compat.shap.deep import DeepExplainer
from reluxfast.compat.shap.exact import ExactExplainer
from reluxfast.compat.shap.gradient import GradientExplainer
from reluxfast.compat.shap.kernel import KernelExplainer
from reluxfast.compat.shap.permutation import PermutationExplainer
from reluxfast.extras import need

__all__ = [
    "Deep",
    "DeepExplainer",
    "Exact",
    "ExactExplainer",
    "Gradient",
    "GradientExplainer",
    "Kernel",
    "KernelExplainer",
    "Permutation",
    "PermutationExplainer",
]

Deep = DeepExplainer
Exact = ExactExplainer
Gradient = GradientExplainer
Kernel = KernelExplainer
Permutation = PermutationExplainer


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(need("shap.explainers", "shap", "shap", f"explainers.{name}"), name)
