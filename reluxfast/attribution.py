"""The result of explaining some rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from reluxfast.balance import Balance
from reluxfast.coalitions.samples import Samples
from reluxfast.player_maps import spread


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
        n_evaluations: forward passes per row; for coalition methods outputs of f, those of the background not counted,
            an int64 Tensor (N,) where rows stopped at different numbers.
        balance: where relevance went, node by node, for LRP that was asked for it; else None.
        layers: relevance inside the network, in the dtype computed in: by name of a node's value, or by path of the
            layers asked for.
        inputs: the rows that were explained, for coalition methods; else None.
        samples: float64 state of sampled values that was asked for with `first_pair`, for `rx.merge`; else None.
    """

    values: Any
    output: torch.Tensor
    target: Any
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    base_value: torch.Tensor | None = None
    standard_error: Any = None
    n_evaluations: int | torch.Tensor = 1
    balance: Balance | None = None
    layers: Mapping[str, Any] | None = None
    inputs: torch.Tensor | None = None
    samples: Samples | None = None

    def numpy(self) -> np.ndarray | tuple[np.ndarray, ...]:
        """`values` as numpy array(s) on the host."""
        if isinstance(self.values, tuple):
            return tuple(v.detach().cpu().numpy() for v in self.values)
        return self.values.detach().cpu().numpy()

    def on_elements(self) -> torch.Tensor:
        """`values` (N, ..., *row), where players own several elements each of these with its player's value."""
        players = self.options.get("players")
        return self.values if players is None else spread(self.values, players)

    def to_shap(
        self,
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        images: bool = False,
    ) -> Any:
        """Shapley values as a `shap.Explanation`, for shap's plots (needs shap).

        Args:
            feature_names: of the players; default shap's own.
            output_names: of the outputs, where several are explained.
            images: for rows (C, H, W): values and data laid out as `shap.plots.image` wants them. The elements of a
                player share its value equally, so that everything still sums to the output.

        Returns:
            values (N, n), or (N, n, K) for several outputs; base_values (N,) or (N, K); error_std like values, where
            there are standard errors; data (N, n): the inputs, for groups of elements the mean of theirs (what colours
            a beeswarm), NaN where a row has fewer players. `images`: values (N, H, W, C) or (N, H, W, C, K), data
            (N, H, W, C). All float64.

        Raises:
            InvalidInput: the method's values do not sum to the output, as shap's plots would show them; or names do
                not fit.
            MissingExtra: shap is not installed.
        """
        from reluxfast.shap_results import explanation  # few results leave for shap

        return explanation(self, feature_names, output_names, images)

    def plot(self, images: torch.Tensor | np.ndarray | None = None, **options: Any):
        """Draws the attribution; see `reluxfast.plots.plot_attribution`. Returns (fig, axes)."""
        from reluxfast.plots import plot_attribution  # drawing is not needed to explain

        return plot_attribution(self, images, **options)
