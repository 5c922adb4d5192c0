"""Captum, with the options under which it computes what the others do."""

from __future__ import annotations

import importlib
from functools import cache, partial
from types import SimpleNamespace

from torch import Tensor, nn

from reluxfast.benchmarks.maps.networks import BasicBlock, Bottleneck, FunctionalReLU, set_additions
from reluxfast.benchmarks.maps.problem import EPSILON, LRP_COMPOSITES, MapProblem
from reluxfast.benchmarks.problem import Prepared, Unavailable
from reluxfast.benchmarks.tuning import fastest

ADDITIONS_METHODS = ("epsilon",)
METHODS = ("gradient", "guided_backprop", "deconvnet", *ADDITIONS_METHODS, "grad_cam", "integrated_gradients")


def prepare(problem: MapProblem, channels_last: bool = False) -> Prepared:
    """On a copy of model and images: Captum writes into both. Channels-last weights are frozen besides."""
    attr = _captum().attr
    if problem.method in LRP_COMPOSITES:
        return _relevance(problem, *_copies(problem, channels_last))
    if problem.method not in METHODS:
        raise Unavailable(f"Captum does not compute {problem.method}")
    model, x = _copies(problem, channels_last)
    target = problem.target
    if problem.method == "integrated_gradients":
        return _integrated(problem, model, x)
    if problem.method == "grad_cam":
        layer = attr.LayerGradCam(model, model.get_submodule(problem.layer))
        return Prepared(lambda: layer.attribute(x, target, relu_attributions=True).detach(), problem.method)
    if problem.method == "gradient":
        return Prepared(lambda: attr.Saliency(model).attribute(x, target, abs=False), problem.method)
    modified = {"guided_backprop": attr.GuidedBackprop, "deconvnet": attr.Deconvolution}[problem.method](model)
    return Prepared(lambda: modified.attribute(x, target), problem.method)


def adds(problem: MapProblem) -> bool:
    """Whether there is an addition that `additions` could rewrite."""
    return any(isinstance(m, (BasicBlock, Bottleneck)) for m in problem.model.modules())


def additions(problem: MapProblem, channels_last: bool = False) -> Prepared:
    """LRP with Captum's own module for every residual addition: a network rewritten as its manual asks."""
    add = _captum().modules.Addition_Module
    model, x = _copies(problem, channels_last)
    if not set_additions(model, add):
        raise Unavailable("this network adds nothing: the same as without additions")
    return _relevance(problem, model, x)


def _relevance(problem: MapProblem, model: nn.Module, x: Tensor) -> Prepared:
    if problem.method != "epsilon":
        raise Unavailable("Captum has no such rule (its z+ and gamma leave biases and signed inputs as they are)")
    captum = _captum()
    _unwrap_functions(model)
    passing = (nn.ReLU, nn.Dropout)
    ruled = [m for m in model.modules() if not any(m.children()) and not isinstance(m, passing)]
    explainer = captum.attr.LRP(model)

    def call() -> Tensor:
        for module in ruled:  # Captum forgets them after each call
            module.rule = captum.rules.EpsilonRule(EPSILON)
        return explainer.attribute(x, problem.target).detach()

    return Prepared(call, problem.method)


def _unwrap_functions(model: nn.Module) -> None:
    """Captum passes `F.relu` as it passes a module, but would want a rule for the module of ours that calls it."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, FunctionalReLU):
                setattr(parent, name, nn.ReLU())


def _integrated(problem: MapProblem, model: nn.Module, x: Tensor) -> Prepared:
    method = _captum().attr.IntegratedGradients(model)
    ask = partial(method.attribute, x, target=problem.target, n_steps=problem.steps, method="gausslegendre")

    def rows_at_once(rows: int) -> Tensor:
        return ask(internal_batch_size=rows).detach()

    best = fastest(rows_at_once, dict.fromkeys((len(x), len(x) * problem.steps)), problem.device)
    return Prepared(partial(rows_at_once, best), problem.method, f"internal_batch_size={best}")


def _copies(problem: MapProblem, channels_last: bool) -> tuple[nn.Module, Tensor]:
    return problem.channels_last() if channels_last else problem.own_copy()


@cache
def _captum() -> SimpleNamespace:
    """Captum's modules; Unavailable without them."""
    names = {"attr": "attr", "rules": "attr._utils.lrp_rules", "modules": "attr._utils.custom_modules"}
    try:
        return SimpleNamespace(**{name: importlib.import_module(f"captum.{path}") for name, path in names.items()})
    except ImportError as error:
        raise Unavailable(f"{error}; pip install 'reluxfast[bench]'") from error
