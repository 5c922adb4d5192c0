"""Zennit: hooks are set once, as in a loop over many batches, and batch norms merged by its own canonizer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from reluxfast.benchmarks.maps.networks import set_additions
from reluxfast.benchmarks.maps.problem import EPSILON, LRP_COMPOSITES, MapProblem
from reluxfast.benchmarks.maps.providers.engine import composite_arguments
from reluxfast.benchmarks.problem import Prepared, Unavailable
from reluxfast.benchmarks.torchvision_operators import operators_of_torchvision

METHODS = ("gradient", "guided_backprop", "deconvnet", *LRP_COMPOSITES, "integrated_gradients")
_COMPOSITES = {
    "guided_backprop": "GuidedBackprop",
    "deconvnet": "DeconvNet",
    "epsilon_plus": "EpsilonPlus",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
    "epsilon_gamma_box": "EpsilonGammaBox",
}


def prepare(problem: MapProblem, channels_last: bool = False) -> Prepared:
    """On a copy of the model: Zennit merges batch norms in place. Channels-last weights are frozen besides."""
    zennit = _zennit()
    method = problem.method
    if method not in METHODS:
        raise Unavailable(f"Zennit does not compute {method}")
    model, x = problem.channels_last() if channels_last else problem.own_copy()
    relevance = method in LRP_COMPOSITES
    if relevance:
        set_additions(model, _StackedSum)
        merge = zennit.canonizers.SequentialMergeBatchNorm()
        bounds = {name: bound[None] for name, bound in composite_arguments(problem).items()}
        _composite(method)(canonizers=[merge], **bounds).register(model)
    elif method in _COMPOSITES:
        _composite(method)().register(model)

    def seed(output: Tensor) -> Tensor:
        target = torch.nn.functional.one_hot(problem.target, output.shape[1]).to(output)
        return output * target if relevance else target

    if method == "integrated_gradients":
        path = zennit.attribution.IntegratedGradients(model, attr_output=seed, n_iter=problem.steps)
        return Prepared(lambda: path(x)[1], "integrated_gradients_right_riemann", "right Riemann sum, step by step")
    attributor = zennit.attribution.Gradient(model, attr_output=seed)
    return Prepared(lambda: attributor(x)[1], method)


class _StackedSum(nn.Module):
    """A residual addition as Zennit can give it a rule: its sum over a stacked axis."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = _zennit().layer.Sum()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.sum(torch.stack([a, b], dim=-1))


def _composite(method: str) -> Callable[..., Any]:
    zennit = _zennit()
    if method != "epsilon":
        return getattr(zennit.composites, _COMPOSITES[method])
    everywhere = [(zennit.types.Linear, zennit.rules.Epsilon(EPSILON))]  # convolutions are among these
    return partial(zennit.composites.LayerMapComposite, [*zennit.composites.layer_map_base(), *everywhere])


@cache
def _zennit() -> SimpleNamespace:
    """Zennit's modules; Unavailable without them."""
    names = ("attribution", "canonizers", "composites", "layer", "rules", "types")
    try:
        operators_of_torchvision()
        modules = {name: importlib.import_module(f"zennit.{name}") for name in names}
    except ImportError as error:
        raise Unavailable(f"{error}; pip install --no-deps zennit torchvision pillow") from error
    return SimpleNamespace(**modules)
