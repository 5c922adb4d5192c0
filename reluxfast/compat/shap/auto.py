"""Explainer: the base of all explainers, and the algorithm that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from reluxfast.compat.shap.errors import unknown_algorithm
from reluxfast.compat.shap.links import Link, identity, is_identity
from reluxfast.compat.shap.maskers import Independent
from reluxfast.compat.shap.models import explains
from reluxfast.compat.shap.tables import background, serves
from reluxfast.extras import need

# Features up to which "auto" explains exactly.
_EXACT_UP_TO = 10
_OF_SHAP = ("partition", "tree", "linear", "additive")


class Explainer:
    """Base of the explainers; made itself, it becomes the explainer that fits, as shap's does.

    Exact up to 10 features, else permutation, for models and maskers that these take; what they do not take (trees,
    linear models, text, images, other algorithms), becomes an explainer of shap itself.

    Args:
        model, masker, link, feature_names, output_names, linearize_link, seed: as for `PermutationExplainer`.
        algorithm: "exact", "permutation", "deep", one of shap's ("partition", "tree", "linear", "additive"), or "auto".
        kwargs: of the explainer.

    Raises:
        InvalidInput: an argument breaks a rule (a ValueError, or of shap's own types too).
        MissingExtra: the explainer is one of shap's, which is not installed.
    """

    _classes: ClassVar[dict[str, type[Explainer]]] = {}

    def __init_subclass__(cls, algorithm: str | None = None, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if algorithm is not None:
            Explainer._classes[algorithm] = cls

    def __init__(
        self,
        model: Any,
        masker: Any = None,
        link: Link = identity,
        algorithm: str = "auto",
        output_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        linearize_link: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ):
        known = ("auto", *self._classes, *_OF_SHAP)
        if algorithm not in known:
            raise unknown_algorithm(repr(algorithm), f"must be one of {', '.join(known)}")
        common = {"feature_names": feature_names, "output_names": output_names, "linearize_link": linearize_link}
        if algorithm == "deep":
            chosen, options = self._classes[algorithm], kwargs
        elif algorithm in _OF_SHAP or not serves(masker) or (algorithm == "auto" and not explains(model)):
            chosen = need("shap", "shap", "shap", f"Explainer of {type(model).__name__}").Explainer
            masker = _as_shap_takes_it(masker)
            options = {"algorithm": algorithm, "seed": seed, **common, **kwargs}
            options |= {} if is_identity(link) else {"link": link}
        else:
            if algorithm == "auto":
                algorithm = "exact" if background(masker).rows.shape[1] <= _EXACT_UP_TO else "permutation"
            options = {"link": link, **common, **kwargs}
            options |= {"seed": seed} if algorithm == "permutation" else {}
            chosen = self._classes[algorithm]
        # As shap does it: what is called is the explainer itself, also shap's own.
        self.__class__ = chosen
        chosen.__init__(self, model, masker, **options)


def _as_shap_takes_it(masker: Any) -> Any:
    """The masker as shap's own explainers know it."""
    if isinstance(masker, torch.Tensor):
        return masker.detach().cpu().numpy()
    if not isinstance(masker, Independent):
        return masker
    rows = masker.data
    if hasattr(masker, "feature_names"):
        rows = need("pandas", "pandas", "shap", "A DataFrame as background").DataFrame(
            rows, columns=masker.feature_names
        )
    return need("shap.maskers", "shap", "shap", "An explainer of shap").Independent(rows, max_samples=len(rows))
