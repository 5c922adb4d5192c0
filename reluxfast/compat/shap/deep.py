"""DeepExplainer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from reluxfast.compat.shap.errors import NotAdditive, NotOffered
from reluxfast.compat.shap.models import module_outputs
from reluxfast.compat.shap.networks import NetworkExplainer
from reluxfast.functions import deep_lift
from reluxfast.methods.numbers import flag
from reluxfast.progress import progress_bar

# What values may be off, as shap has it.
_TOLERANCE = 1e-2
# Bytes of values of pairs that are made at once.
_PAIR_BYTES = 64 << 20


class DeepExplainer(NetworkExplainer, algorithm="deep"):
    """DeepLIFT in the mean over a background: `rx.deep_lift`. Functional and reused ReLUs are as right as others.

    Args:
        model: an nn.Module of one or several inputs that returns (N,) or (N, K); explained as if in eval mode.
        data: background (B, ...): Tensor, array or DataFrame, a list of them for several inputs; their rows belong
            together.
        session, learning_phase_flags: must be None.

    Raises:
        InvalidInput: an argument breaks a rule. Pairs (model, layer) are refused.
    """

    def __init__(self, model: Any, data: Any, session: Any = None, learning_phase_flags: Any = None):
        for name, value in (("session", session), ("learning_phase_flags", learning_phase_flags)):
            if value is not None:
                raise NotOffered(name, "must be None", type(value).__name__)
        if isinstance(model, tuple):
            remedy = "Explain a module of the layers from that one on, with its inputs as data"
            raise NotOffered("model", "must be an nn.Module", "a pair of a module and a layer", remedy)
        super().__init__(model, data)

    def __call__(self, X: Any) -> Any:
        """Explains rows.

        Returns:
            shap.Explanation: values (N, ..., K) float64, a list of them for several inputs; base_values (N, K), where
            shap has none (None for several inputs).

        Raises:
            MissingExtra: shap is not installed; `shap_values` does without.
        """
        return self._explanation(X, lambda: self.shap_values(X))

    def shap_values(
        self,
        X: Any,
        ranked_outputs: int | None = None,
        output_rank_order: str = "max",
        check_additivity: bool = True,
    ) -> Any:
        """Values (N, ..., K) float64, K = 1 included; a list of them for several inputs.

        Args:
            X: (N, ...) or a list, as `data`.
            ranked_outputs: explains only so many outputs of each row.
            output_rank_order: which: "max", "min" or "max_abs".
            check_additivity: whether values must sum to the output less expected_value, to 0.01.

        Returns:
            values; with ranked_outputs (values, indices (N, k)).

        Raises:
            NotAdditive: they do not sum to it (an AssertionError too).
            InvalidInput: an argument breaks a rule.
            UnexpectedInput: X is no list where data is one, or the other way round (an AssertionError too).
            UnsupportedNode: an operation has no rule.
        """
        flag("check_additivity", check_additivity)
        inputs = self._inputs(X)
        ranks = self._ranks(inputs, ranked_outputs, output_rank_order)
        values = self._explained(inputs, ranks, self._means)
        if check_additivity:
            self._check(inputs, values, ranks)
        return self._packed(values) if ranks is None else (self._packed(values), ranks)

    def _means(self, inputs: tuple[torch.Tensor, ...], target: Any) -> list[torch.Tensor]:
        """Mean over the background, from batches of pairs of a row and a background row."""
        rows, count = len(inputs[0]), len(self._background[0])
        classes = math.prod(self._output_shape(inputs)[1:]) if isinstance(target, str) else 1
        size = sum(x[:1].numel() for x in inputs) * inputs[0].element_size() * count * classes
        step = max(1, _PAIR_BYTES // max(1, size))
        parts = []
        with progress_bar(total=rows, desc="deep_lift", unit="row") as bar:
            for start in range(0, max(rows, 1), step):
                some = tuple(x[start : start + step] for x in inputs)
                pairs = tuple(x.repeat_interleave(count, 0) for x in some)
                references = tuple(b.repeat(len(some[0]), *[1] * (b.dim() - 1)) for b in self._background)
                if not rows:
                    references = tuple(b[:1] for b in self._background)
                chosen = target
                if isinstance(target, torch.Tensor):
                    chosen = target[start : start + step].repeat_interleave(count).tolist()
                found = deep_lift(self.model, pairs, chosen, baseline=references).values
                parts.append([v.unflatten(0, (len(some[0]), count)).mean(1) for v in found])
                bar.update(len(some[0]))
        return [torch.cat(of_input) for of_input in zip(*parts, strict=True)]

    def _check(self, inputs: tuple[torch.Tensor, ...], values: list[np.ndarray], ranks: torch.Tensor | None) -> None:
        outputs = self._by_class(module_outputs(self.model, inputs)).cpu().double().numpy()
        wanted = outputs - self.expected_value
        if ranks is not None:
            wanted = np.take_along_axis(wanted, ranks.long().numpy(), 1)
        total = sum(v.sum(tuple(range(1, v.ndim - 1))) for v in values)
        worst = float(np.abs(wanted - total).max(initial=0))
        if not worst < _TOLERANCE:
            raise NotAdditive(
                "The SHAP explanations do not sum up to the model's output! The largest difference is "
                f"{worst:.3g}, {_TOLERANCE} are allowed. Outputs are too large for float32, or not finite: explain in "
                "float64, or pass check_additivity=False"
            )
