"""Explainer: the algorithm that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reluxfast.compat.shap.deep import DeepExplainer
from reluxfast.compat.shap.errors import NotOffered, unknown_algorithm
from reluxfast.compat.shap.exact import ExactExplainer
from reluxfast.compat.shap.links import Link, identity
from reluxfast.compat.shap.permutation import PermutationExplainer
from reluxfast.compat.shap.tables import background

# Features up to which "auto" explains exactly.
_EXACT_UP_TO = 10
_OURS = ("auto", "exact", "permutation", "deep")
_OF_SHAP = ("partition", "tree", "linear", "additive")


class Explainer:
    """Makes the explainer of an algorithm; what is returned is an `ExactExplainer`, a `PermutationExplainer` or a
    `DeepExplainer`.

    Args:
        model, masker, link, feature_names, linearize_link, seed: as for `PermutationExplainer`.
        algorithm: "exact", "permutation", "deep", or "auto": exact up to 10 features, else permutation. shap's "auto"
            may also choose for linear models and trees, which are refused here.
        output_names: must be None.
        kwargs: of the explainer.

    Raises:
        NotOffered: the algorithm is one of shap's others.
        InvalidInput: an argument breaks a rule (a ValueError, or of shap's own types too).
    """

    def __new__(
        cls,
        model: Any,
        masker: Any = None,
        link: Link = identity,
        algorithm: str = "auto",
        output_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        linearize_link: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Any:
        if output_names is not None:
            raise NotOffered("output_names", "must be None", output_names, "Set them on the Explanation")
        if algorithm in _OF_SHAP:
            rule = f"must be one of {', '.join(_OURS)}"
            raise NotOffered("algorithm", rule, repr(algorithm), "shap's own Explainer has it")
        if algorithm not in _OURS:
            raise unknown_algorithm(repr(algorithm), f"must be one of {', '.join(_OURS)}")
        if algorithm == "deep":
            return DeepExplainer(model, masker, **kwargs)
        if algorithm == "auto":
            algorithm = "exact" if background(masker).rows.shape[1] <= _EXACT_UP_TO else "permutation"
        common = {"link": link, "feature_names": feature_names, "linearize_link": linearize_link, **kwargs}
        if algorithm == "exact":
            return ExactExplainer(model, masker, **common)
        return PermutationExplainer(model, masker, seed=seed, **common)
