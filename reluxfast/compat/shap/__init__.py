"""shap's explainers, answered by this engine: change the import, keep the calls.

from reluxfast.compat import shap
values = shap.PermutationExplainer(model, background)(X)

Every other name is shap's own (`shap.plots`, `shap.Explanation`, `shap.kmeans`, `shap.TreeExplainer` ...).
"""

from __future__ import annotations

from typing import Any

from reluxfast.compat.shap import explainers, maskers
from reluxfast.compat.shap.auto import Explainer
from reluxfast.compat.shap.deep import DeepExplainer
from reluxfast.compat.shap.exact import ExactExplainer
from reluxfast.compat.shap.gradient import GradientExplainer
from reluxfast.compat.shap.kernel import KernelExplainer
from reluxfast.compat.shap.permutation import PermutationExplainer
from reluxfast.extras import need

__all__ = [
    "DeepExplainer",
    "ExactExplainer",
    "Explainer",
    "GradientExplainer",
    "KernelExplainer",
    "PermutationExplainer",
    "explainers",
    "maskers",
]


def __getattr__(name: str) -> Any:
    if name.startswith("_") and name != "__version__":
        raise AttributeError(name)
    peer = need("shap", "shap", "shap", f"shap.{name}")
    return getattr(peer, name)
