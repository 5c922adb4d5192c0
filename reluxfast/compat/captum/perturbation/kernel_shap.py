"""KernelShap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.distributions.categorical import Categorical

from reluxfast.compat.captum.bases import exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.perturbation.asked import ask
from reluxfast.compat.captum.perturbation.features import given_features
from reluxfast.compat.captum.perturbation.lime import Lime
from reluxfast.compat.captum.perturbation.linear import LeastSquares
from reluxfast.compat.captum.perturbation.samples import Drawing


class KernelShap(Lime):
    """Shapley values by weighted least squares over random coalitions (Lundberg and Lee 2017, arXiv 1705.07874).

    As Captum draws and weighs them, under the same `torch.manual_seed` the same ones: with replacement and unpaired,
    the two ends with weight 10⁶. The fit is in float64 and needs no scikit-learn (Captum: float32, by scikit-learn).

    Args:
        forward_func: see `Lime`.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        Lime.__init__(self, forward_func, LeastSquares(), self._weight, _coalitions)
        self.inf_weight = 1e6

    @exposed
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:
        """As `Lime.attribute`; values sum to what the output gains over the baseline, but for the ends' weight."""
        call = Call.of(inputs, target, additional_forward_args)
        features = given_features(feature_mask, call.inputs).from_zero()
        further = {"num_select_distribution": _sizes(features.total)}
        # A single feature has no coalitions but the ends.
        count = n_samples if features.total > 1 or n_samples < 2 else 2
        drawing = Drawing(self.perturb_func, self.similarity_func, count, further)
        asked = ask(self.forward_func, call, baselines, perturbations_per_eval, show_progress)
        return self._fitted(asked, baselines, features, drawing, return_input_shape)

    def _weight(self, _: Any, __: Any, sample: torch.Tensor, **kwargs: Any) -> float:
        """Weight of a coalition: that of the ends is as good as infinite."""
        return self.inf_weight if int(sample.sum()) in (0, kwargs["num_interp_features"]) else 1.0


def _sizes(total: int) -> Categorical | None:
    """Chances of the sizes s of a coalition, in proportion to 1/(s (n - s)); None where there are only the ends."""
    if total < 2:
        return None
    sizes = torch.arange(total, dtype=torch.float)
    chances = (total - 1) / (sizes * (total - sizes))
    chances[0] = 0
    return Categorical(chances)


def _coalitions(original_input: Any, **kwargs: Any) -> Iterator[torch.Tensor]:
    """Both ends, then random coalitions, (1, total) each."""
    total, sizes = kwargs["num_interp_features"], kwargs["num_select_distribution"]
    first = original_input[0] if isinstance(original_input, tuple) else original_input
    yield torch.ones(1, total, device=first.device, dtype=torch.long)
    yield torch.zeros(1, total, device=first.device, dtype=torch.long)
    while sizes is not None:
        size = sizes.sample()
        scores = torch.randn(1, total)
        threshold = torch.kthvalue(scores, total - int(size)).values
        yield (scores > threshold.unsqueeze(1)).to(first.device).long()
