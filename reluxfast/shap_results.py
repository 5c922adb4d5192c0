"""Results as shap's own objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from reluxfast.attribution import Attribution
from reluxfast.errors import InvalidInput
from reluxfast.extras import need
from reluxfast.player_maps import means, spread

# Methods whose values sum to the output from the base value on, as shap's plots draw them.
_SUMMING = ("shapley", "kernel_shap")


def explanation(
    result: Attribution,
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    images: bool = False,
) -> Any:
    """See `Attribution.to_shap`."""
    if result.method not in _SUMMING:
        rule = f"is for {' and '.join(_SUMMING)}, whose values sum to the output from a base value on"
        raise InvalidInput("to_shap", rule, result.method)
    shap = need("shap", "shap", "shap", "Attribution.to_shap")
    players = result.options["players"]
    x = result.inputs.cpu().double()
    values, error = result.values, result.standard_error
    base = result.base_value.detach().cpu().double()
    outputs = base.dim() - 1
    if images:
        _check_images(x, feature_names)
        if players is not None:
            values, error = (None if v is None else spread(v, players, shared=True) for v in (values, error))
        data = x.movedim(1, -1)
    else:
        count = values.shape[1 + outputs :].numel()
        _check_names("feature_names", feature_names, count, "players")
        data = x.flatten(1) if players is None else means(x, players.cpu(), count)
    _check_names("output_names", output_names, base[:1].numel() if outputs else 0, "outputs")

    def last(found: torch.Tensor | None) -> np.ndarray | None:
        """Outputs behind everything else, as one dimension, float64; players as one dimension, or as (H, W, C)."""
        if found is None:
            return None
        wide = found.detach().cpu().double()
        wide = wide.movedim(1 + outputs, -1) if images else wide.flatten(1 + outputs)
        return np.array(wide.flatten(1, outputs).movedim(1, -1) if outputs else wide)

    return shap.Explanation(
        last(values),
        base_values=np.array(base.flatten(1) if outputs else base),
        data=np.array(data),
        feature_names=None if feature_names is None else list(feature_names),
        output_names=None if output_names is None else list(output_names),
        error_std=last(error),
    )


def _check_images(x: torch.Tensor, feature_names: Sequence[str] | None) -> None:
    if x.dim() != 4:
        raise InvalidInput("images", "is for inputs (N, C, H, W)", f"inputs {tuple(x.shape)}")
    if feature_names is not None:
        raise InvalidInput("feature_names", "have no meaning for images", feature_names, "Leave them out")


def _check_names(argument: str, names: Sequence[str] | None, count: int, what: str) -> None:
    if names is not None and (isinstance(names, str) or not isinstance(names, Collection)):
        raise InvalidInput(argument, "must be a list of names", repr(names))
    if names is not None and len(names) != count:
        raise InvalidInput(argument, f"must name {count} {what}" if count else f"need several {what}", len(names))
