"""GradientExplainer."""

from __future__ import annotations

from typing import Any

import torch

from reluxfast.compat.shap.errors import NotOffered
from reluxfast.compat.shap.networks import NetworkExplainer
from reluxfast.compat.shap.seeds import check_seed
from reluxfast.functions import expected_gradients
from reluxfast.methods.numbers import positive


class GradientExplainer(NetworkExplainer):
    """Expected gradients of a network: `rx.expected_gradients`.

    Args:
        model: an nn.Module of one or several inputs that returns (N,) or (N, K); explained as if in eval mode. A pair
            (model, layer) explains what the layer, a module of the model that takes one value, is given: as in shap,
            by activation times gradient in the mean over the same points.
        data: background (B, ...): Tensor, array or DataFrame, a list of them for several inputs; their rows belong
            together.
        session: must be None.
        batch_size: has no effect: how many points are evaluated at once follows from their size.
        local_smoothing: standard deviation of normal noise added to X in each sample.

    Raises:
        InvalidInput: an argument breaks a rule.
    """

    def __init__(self, model: Any, data: Any, session: Any = None, batch_size: int = 50, local_smoothing: float = 0):
        if session is not None:
            raise NotOffered("session", "must be None", type(session).__name__)
        positive("batch_size", batch_size, needed=True)
        network, self.layer = model if isinstance(model, tuple) and len(model) == 2 else (model, None)
        super().__init__(network, data)
        self.batch_size, self.local_smoothing = batch_size, local_smoothing

    def __call__(self, X: Any, nsamples: int = 200) -> Any:
        """Explains rows.

        Returns:
            shap.Explanation: values (N, ..., K) float64, a list of them for several inputs; base_values (N, K), where
            shap has none (None for a layer, and for several inputs).

        Raises:
            MissingExtra: shap is not installed; `shap_values` does without.
        """
        return self._explanation(X, lambda: self.shap_values(X, nsamples), self.layer is None)

    def shap_values(
        self,
        X: Any,
        nsamples: int = 200,
        ranked_outputs: int | None = None,
        output_rank_order: str = "max",
        rseed: int | None = None,
        return_variances: bool = False,
    ) -> Any:
        """Values (N, ..., K) float64, K = 1 included; a list of them for several inputs.

        Args:
            X: (N, ...) or a list, as `data`.
            nsamples: points for each row. Background rows are met in turn, where shap draws them.
            ranked_outputs: explains only so many outputs of each row.
            output_rank_order: which: "max", "min" or "max_abs" (of which shap takes the largest too).
            rseed: of the draws, which are the same in each call; None is 0.
            return_variances: whether to return what the values vary by: squared standard errors (shap: the variance of
                single samples over the root of their number).

        Returns:
            values; with ranked_outputs (values, indices (N, k)); with return_variances the variances behind the values,
            a list of K arrays (N, ...), or of K lists for several inputs.

        Raises:
            InvalidInput: an argument breaks a rule.
            UnexpectedInput: X is no list where data is one, or the other way round (an AssertionError too).
        """
        check_seed("rseed", rseed)
        inputs = self._inputs(X)
        ranks = self._ranks(inputs, ranked_outputs, output_rank_order)
        options = {
            "baselines": self._background,
            "n_samples": nsamples,
            "seed": 0 if rseed is None else rseed,
            "local_smoothing": self.local_smoothing,
            "layer_input": self.layer,
        }

        def attribute(x: tuple[torch.Tensor, ...], target: Any) -> list[torch.Tensor]:
            found = expected_gradients(self.model, x, target, **options)
            values, errors = found.values, found.standard_error
            values, errors = (values, errors) if self.layer is None else ([values], [errors])
            return [*values, *(e.square() for e in errors)]

        found = self._explained(inputs, ranks, attribute)
        values, variances = found[: len(found) // 2], found[len(found) // 2 :]
        answer: list[Any] = [values[0] if len(values) == 1 else values]
        if return_variances:
            outputs = range(values[0].shape[-1])
            answer.append([self._packed([v[..., k] for v in variances]) for k in outputs])
        if ranked_outputs is not None:
            answer.append(ranks)
        return answer[0] if len(answer) == 1 else tuple(answer)
