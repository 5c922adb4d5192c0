"""Results as shap's own objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reluxfast.attribution import Attribution
from reluxfast.errors import InvalidInput
from reluxfast.extras import need


def explanation(
    result: Attribution, feature_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None
) -> Any:
    """See `Attribution.to_shap`."""
    shap = need("shap", "shap", "shap", "Attribution.to_shap")
    if result.base_value is None or result.inputs is None:
        raise InvalidInput("to_shap", "is for coalition methods, whose values start at a base value", result.method)
    outputs = result.base_value.dim() - 1
    players = result.options.get("players") is not None
    names = None if feature_names is None else list(feature_names)
    count = result.values.shape[1 + outputs :].numel()
    if names is not None and len(names) != count:
        raise InvalidInput("feature_names", f"must name {count} players", len(names))

    def last(values: torch.Tensor) -> np.ndarray:
        """(N, n) or (N, n, K), float64."""
        wide = values.detach().cpu().double().flatten(1 + outputs)
        return wide.numpy() if outputs == 0 else np.moveaxis(wide.flatten(1, outputs).numpy(), 1, -1)

    base = result.base_value.detach().cpu().double()
    error = None if result.standard_error is None else last(result.standard_error)
    return shap.Explanation(
        last(result.values),
        base_values=base.flatten(1).numpy() if outputs else base.numpy(),
        data=None if players else result.inputs.detach().cpu().double().flatten(1).numpy(),
        feature_names=names,
        output_names=None if output_names is None else list(output_names),
        error_std=error,
    )
