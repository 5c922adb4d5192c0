"""The result of explaining some rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from reluxfast.balance import Balance


@dataclass(frozen=True)
class Attribution:
    """What an attribution method returns.

    Attributes:
        values: Tensor shaped like `x` (or a tuple of them for several inputs); (N, K, ...) for `target="all"`;
            (N, 1, H, W) for Grad-CAM. In the dtype of `x`; detached, but for LRP with `create_graph`.
        output: (N, ...) output of the model for `x`.
        target: the target as given.
        method: name of the method.
        options: options as used, and facts about the run.
        base_value: (N,) or (N, K), output at the baseline, where the method has one.
        standard_error: like `values`, for sampling methods, else None.
        n_evaluations: forward passes per row.
        balance: where relevance went, node by node, for LRP that was asked for it; else None.
        layers: relevance inside the network, in the dtype computed in: by name of a node's value, or by path of the
            layers asked for.
    """

    values: Any
    output: torch.Tensor
    target: Any
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    base_value: torch.Tensor | None = None
    standard_error: Any = None
    n_evaluations: int = 1
    balance: Balance | None = None
    layers: Mapping[str, Any] | None = None

    def numpy(self) -> np.ndarray | tuple[np.ndarray, ...]:
        """`values` as numpy array(s) on the host."""
        if isinstance(self.values, tuple):
            return tuple(v.detach().cpu().numpy() for v in self.values)
        return self.values.detach().cpu().numpy()

    def plot(self, images: torch.Tensor | np.ndarray | None = None, **options: Any):
        """Draws the attribution; see `reluxfast.plots.plot_attribution`. Returns (fig, axes)."""
        from reluxfast.plots import plot_attribution  # drawing is not needed to explain

        return plot_attribution(self, images, **options)
