"""Who computes LRP in a benchmark: the engine on each backend, Captum, Zennit, and the bare floor.

The method of a provider is a name of `COMPOSITES`. Every peer gets a copy of the network of its own, as both write
into the modules they explain. Relevance starts from the logit for all: Captum and the engine do so by themselves,
Zennit is given output times one-hot target.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import reluxfast as rx
from benchmarks import models
from benchmarks.cases import Problem
from benchmarks.providers import CAPTUM_MISSING, Prepared, Provider, Unavailable, engine, replayed
from benchmarks.torchvision_operators import operators_of_torchvision
from reluxfast.composites import composite

COMPOSITES = ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box")
EPSILON = 1e-6


def arguments_of(problem: Problem, name: str) -> dict[str, Any]:
    """What the composite takes besides its defaults: bounds (C, 1, 1) of the problem's images, channel by channel."""
    if name != "epsilon_gamma_box":
        return {}
    return {"low": problem.x.amin((0, 2, 3))[:, None, None], "high": problem.x.amax((0, 2, 3))[:, None, None]}


def _reluxfast(problem: Problem, name: str, backend: str) -> Prepared:
    chosen = composite(name, **arguments_of(problem, name))
    return Prepared(engine(problem, backend, "lrp", composite=chosen), name)


def _bare(problem: Problem, name: str) -> Prepared:
    """The convolution and GEMM calls of the engine's own walk, forward then reverse, and nothing between them."""
    chosen = composite(name, **arguments_of(problem, name))
    return replayed(rx.Explainer(problem.model, problem.x).bare_calls(problem.x, method="lrp", composite=chosen))


def _prepared_for(problem: Problem, channels_last: bool) -> tuple[nn.Module, Tensor]:
    return problem.channels_last() if channels_last else (copy.deepcopy(problem.model), problem.x.clone())


def _captum(problem: Problem, name: str, channels_last: bool = False, additions: bool = False) -> Prepared:
    """`additions`: with Captum's own module for every residual addition, a network rewritten as its manual asks."""
    try:
        from captum.attr import LRP
        from captum.attr._utils.custom_modules import Addition_Module
        from captum.attr._utils.lrp_rules import EpsilonRule
    except ImportError as error:
        raise Unavailable(CAPTUM_MISSING) from error
    if name != "epsilon":
        raise Unavailable("Captum has no such rule (its z+ and gamma leave biases and signed inputs as they are)")
    model, x = _prepared_for(problem, channels_last)
    if additions and not models.set_additions(model, Addition_Module):
        raise Unavailable("this network adds nothing: the same as without additions")
    passing = (nn.ReLU, nn.Dropout)
    ruled = [m for m in model.modules() if not any(m.children()) and not isinstance(m, passing)]
    explainer = LRP(model)

    def call() -> Tensor:
        for module in ruled:  # Captum forgets them after each call
            module.rule = EpsilonRule(EPSILON)
        return explainer.attribute(x, problem.target).detach()

    return Prepared(call, name)


class _StackedSum(nn.Module):
    """A residual addition as Zennit can give it a rule: its sum over a stacked axis."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = _zennit().layer.Sum()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.sum(torch.stack([a, b], dim=-1))


def _zennit_run(problem: Problem, name: str, channels_last: bool = False) -> Prepared:
    """Batch norms merged by Zennit's own canonizer; hooks are set once, as in a loop over many batches."""
    zennit = _zennit()
    model, x = _prepared_for(problem, channels_last)
    models.set_additions(model, _StackedSum)
    merge = zennit.canonizers.SequentialMergeBatchNorm()
    bounds = {k: v[None] for k, v in arguments_of(problem, name).items()}
    _zennit_composite(name)(canonizers=[merge], **bounds).register(model)

    def seed(output: Tensor) -> Tensor:
        return output * torch.nn.functional.one_hot(problem.target, output.shape[1])

    attributor = zennit.attribution.Gradient(model, attr_output=seed)
    return Prepared(lambda: attributor(x)[1], name)


def _zennit_composite(name: str) -> Callable[..., Any]:
    zennit = _zennit()
    if name == "epsilon":
        everywhere = [(zennit.types.Linear, zennit.rules.Epsilon(EPSILON))]  # convolutions are among these
        return partial(zennit.composites.LayerMapComposite, [*zennit.composites.layer_map_base(), *everywhere])
    named = {"epsilon_plus": "EpsilonPlus", "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1"}
    return getattr(zennit.composites, named.get(name, "EpsilonGammaBox"))


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


PROVIDERS: dict[str, Provider] = {
    "reluxfast cuda": partial(_reluxfast, backend="cuda"),
    "reluxfast triton": partial(_reluxfast, backend="triton"),
    "reluxfast cpp": partial(_reluxfast, backend="cpp"),
    "reluxfast reference": partial(_reluxfast, backend="reference"),
    "captum": _captum,
    "captum channels_last": partial(_captum, channels_last=True),
    "captum additions": partial(_captum, additions=True),
    "captum additions channels_last": partial(_captum, additions=True, channels_last=True),
    "zennit": _zennit_run,
    "zennit channels_last": partial(_zennit_run, channels_last=True),
    "bare": _bare,
}
