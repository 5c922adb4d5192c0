"""FeatureAblation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from reluxfast.compat.captum.bases import Explains, PerturbationAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.perturbation.asked import ask
from reluxfast.compat.captum.perturbation.features import given_features
from reluxfast.methods.ablation import feature_ablation


class FeatureAblation(Explains, PerturbationAttribution):
    """What the output loses when a feature is set to its baseline.

    Args:
        forward_func: a module (as in eval mode), or any function of tensors. It returns outputs for each example, or
            for the batch as a whole; then examples are ablated together, `perturbations_per_eval` must be 1, and masks
            the same for all of them.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        PerturbationAttribution.__init__(self, forward_func)

    @exposed
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Values like the inputs, in the dtype of the outputs; (N·K, ...) where K outputs are explained.

        Args:
            inputs: Tensor (N, ...) of any dtype, or a tuple of them.
            baselines: None (zeros), numbers, or Tensors that broadcast to the inputs; a tuple for several inputs.
            target: None (all outputs), int, tuple, integer Tensor or list, as in Captum.
            additional_forward_args: further arguments; a Tensor with N rows goes along with the examples.
            feature_mask: integers that broadcast to the inputs and name the feature of each element, across inputs.
            perturbations_per_eval: above 1: a call may have at least so many times N rows. Values do not depend on it.
            show_progress: whether a bar is drawn.
            **kwargs: ignored, as in Captum.

        Raises:
            AssertionError, IndexError: an argument breaks a rule.
            ReluxfastError: outputs are not finite.
        """
        call = Call.of(inputs, target, additional_forward_args)
        features = given_features(feature_mask, call.inputs)
        asked = ask(self.forward_func, call, baselines, perturbations_per_eval, show_progress)
        parts = asked.by_feature(features, lambda request, _: feature_ablation(request))
        dtype = asked.float_dtype if asked.rows.dtype == torch.bool else asked.rows.dtype
        return asked.laid_out(parts, dtype, flat=True)
