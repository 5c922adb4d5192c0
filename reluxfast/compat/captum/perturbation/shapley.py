"""ShapleyValueSampling and ShapleyValues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.exact import MOST_PLAYERS, evaluations, exact
from reluxfast.coalitions.permutation import along
from reluxfast.coalitions.request import GameRequest
from reluxfast.compat.captum.bases import Explains, PerturbationAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.perturbation.asked import ask
from reluxfast.compat.captum.perturbation.features import Features, given_features
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import positive


class ShapleyValueSampling(Explains, PerturbationAttribution):
    """Shapley values from random orders of the features (Castro et al. 2009).

    Under the same `torch.manual_seed` values are Captum's: one `torch.randperm` for each sample, which all examples
    share. Coalitions are batched across orders and examples.

    Args:
        forward_func: a module (as in eval mode), or any function of tensors. It returns outputs for each example, or
            for the batch as a whole; then features are the batch's, `perturbations_per_eval` must be 1, and masks
            the same for all examples.
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
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """Values like the inputs, float64 where an input is (Captum: float32), else float32; (N, K, ...) for K outputs.

        Args:
            inputs: Tensor (N, ...) of any dtype, or a tuple of them.
            baselines: None (zeros), numbers, or Tensors that broadcast to the inputs; a tuple for several inputs.
            target: None (all outputs), int, tuple, integer Tensor or list, as in Captum.
            additional_forward_args: further arguments; a Tensor with N rows goes along with the examples.
            feature_mask: integers from 0 on that broadcast to the inputs and name the feature of each element, across
                inputs.
            n_samples: number of orders, at least 1 (none gives NaN in Captum).
            perturbations_per_eval: above 1: a call may have at least so many times N rows. Values do not depend on it.
            show_progress: whether a bar is drawn.

        Raises:
            AssertionError, IndexError, InvalidInput: an argument breaks a rule.
            ReluxfastError: outputs are not finite.
        """
        positive("n_samples", n_samples, needed=True)
        call = Call.of(inputs, target, additional_forward_args)
        features = _features(feature_mask, call)
        asked = ask(self.forward_func, call, baselines, perturbations_per_eval, show_progress)
        orders = torch.stack([torch.randperm(features.total) for _ in range(n_samples)]).cpu()

        def estimate(request: GameRequest, ids: torch.Tensor) -> Estimate:
            game = request.game(n_samples * len(ids))
            # Features that no element has change nothing.
            there = orders[torch.isin(orders, ids)].view(n_samples, len(ids))
            return along(game, request.chains(game, False), torch.searchsorted(ids, there), request.bars)

        return asked.laid_out(asked.by_feature(features, estimate), asked.float_dtype)


class ShapleyValues(ShapleyValueSampling):
    """Exact Shapley values: every coalition of features once (Captum: every order), at most 26 features.

    Args:
        forward_func: see `ShapleyValueSampling`.
    """

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
    ) -> Any:
        """As `ShapleyValueSampling.attribute`, without `n_samples`; 2ⁿ evaluations for n features."""
        call = Call.of(inputs, target, additional_forward_args)
        features = _features(feature_mask, call)
        asked = ask(self.forward_func, call, baselines, perturbations_per_eval, show_progress)

        def estimate(request: GameRequest, ids: torch.Tensor) -> Estimate:
            if len(ids) > MOST_PLAYERS:
                rule = f"must leave at most {MOST_PLAYERS} features to ask for exact values"
                remedy = "Group elements as features, or use ShapleyValueSampling"
                raise InvalidInput("feature_mask", rule, f"{len(ids)} features", remedy)
            game = request.game(evaluations(len(ids), request.backgrounds))
            return exact(game, request.cube(game), request.bars)

        return asked.laid_out(asked.by_feature(features, estimate), asked.float_dtype)


def _features(feature_mask: Any, call: Call) -> Features:
    features = given_features(feature_mask, call.inputs)
    if any(ids.numel() and int(ids.min()) < 0 for ids in features.ids):
        raise Refused("feature_mask", "must hold integers from 0 on", min(int(ids.min()) for ids in features.ids))
    return features
