"""Composites: which LRP rule each node of a network gets.

A composite is a function `Layer -> Rule | None`; None: no rule, which is an error for a node that needs one. The named
ones are those of the literature (Montavon et al. 2019; Kohlbrenner et al. 2020; Anders et al. 2021 for the names).

Convolutions follow z+ (epsilon_plus), alpha-beta (epsilon_alpha2_beta1, alpha1_beta0), gamma (epsilon_gamma_box) or
epsilon; linear maps epsilon (alpha1_beta0: as convolutions); the first of them flat (..._flat), the first convolution
z-box (epsilon_gamma_box); sums norm; activations, unfolded batch norms and shifts pass. excitation_backprop: z+ for
both, norm for sums, the derivative for all else.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reluxfast.errors import InvalidInput
from reluxfast.rules import AlphaBeta, Epsilon, Flat, Gamma, Gradient, Norm, Pass, Rule, ZBox, ZPlus


@dataclass(frozen=True)
class Layer:
    """What a composite sees of a node.

    Attributes:
        kind: "convolution", "linear", "batch_norm" (one that could not be folded), "activation", "max_pool", "sum"
            (residual addition, average pooling, mean, upsampling), "carry" (reshape, concatenation), "scale" and
            "shift" (by a constant, as images are normalised), "product" (of two values), "other".
        op: name of the operation, as in "aten.conv2d".
        path: dotted path of the module it is called in.
        first: whether it is the first convolution or linear map, in execution order.
        first_convolution: whether it is the first convolution, in execution order.
        name: of the node's value in the graph.
    """

    kind: str
    op: str
    path: str
    first: bool
    first_convolution: bool
    name: str = ""


Composite = Callable[[Layer], Rule | None]


def by_kind(convolution: Rule, linear: Rule, rest: Rule | None = None) -> Composite:
    """Rules for convolutions and linear maps; for sums, and for batch norms and shifts, `rest`, else `Norm`, `Pass`."""
    rules = {
        "convolution": convolution,
        "linear": linear,
        "sum": rest or Norm(),
        "activation": Pass(),
        "batch_norm": rest or Pass(),
        "shift": rest or Pass(),
    }

    def composite(layer: Layer) -> Rule | None:
        return rules.get(layer.kind)

    return composite


def _first(rule: Rule, others: Composite, convolution_only: bool = False) -> Composite:
    def composite(layer: Layer) -> Rule | None:
        first = layer.first_convolution if convolution_only else layer.first
        return rule if first else others(layer)

    return composite


def _epsilon(epsilon: float = 1e-6) -> Composite:
    return by_kind(Epsilon(epsilon), Epsilon(epsilon))


def _epsilon_plus(epsilon: float = 1e-6) -> Composite:
    return by_kind(ZPlus(), Epsilon(epsilon))


def _epsilon_plus_flat(epsilon: float = 1e-6) -> Composite:
    return _first(Flat(), _epsilon_plus(epsilon))


def _epsilon_alpha2_beta1(epsilon: float = 1e-6) -> Composite:
    return by_kind(AlphaBeta(2, 1), Epsilon(epsilon))


def _epsilon_alpha2_beta1_flat(epsilon: float = 1e-6) -> Composite:
    return _first(Flat(), _epsilon_alpha2_beta1(epsilon))


def _epsilon_gamma_box(low: Any, high: Any, epsilon: float = 1e-6, gamma: float = 0.25) -> Composite:
    return _first(ZBox(low, high), by_kind(Gamma(gamma), Epsilon(epsilon)), convolution_only=True)


def _excitation_backprop() -> Composite:
    def composite(layer: Layer) -> Rule | None:
        if layer.kind in ("convolution", "linear"):
            return ZPlus()
        if layer.kind == "sum" and "upsample" not in layer.op:
            return Norm()
        return None if layer.kind in ("carry", "max_pool") else Gradient()

    return composite


def _alpha1_beta0() -> Composite:
    return by_kind(AlphaBeta(1, 0), AlphaBeta(1, 0))


_NAMED: dict[str, Callable[..., Composite]] = {
    "epsilon": _epsilon,
    "epsilon_plus": _epsilon_plus,
    "epsilon_plus_flat": _epsilon_plus_flat,
    "epsilon_alpha2_beta1": _epsilon_alpha2_beta1,
    "epsilon_alpha2_beta1_flat": _epsilon_alpha2_beta1_flat,
    "epsilon_gamma_box": _epsilon_gamma_box,
    "excitation_backprop": _excitation_backprop,
    "alpha1_beta0": _alpha1_beta0,
}
# Rules of ReLU rather than of layers: seeded with the logit, else as the methods of the same names.
RELU_RULES = ("guided_backprop", "deconvnet")


def composites() -> list[str]:
    """Names that `composite` and `lrp(composite=...)` take."""
    return [*_NAMED, *RELU_RULES]


def composite(name: str, **arguments: Any) -> Composite:
    """A named composite.

    Args:
        name: one of `composites()` but guided_backprop and deconvnet, which are no assignment of rules to layers.
        **arguments: `epsilon` where there is an epsilon rule; `low` and `high` (required) and `gamma` for
            epsilon_gamma_box.

    Raises:
        InvalidInput: unknown name or argument, or one is missing.
    """
    make = _NAMED.get(name) if isinstance(name, str) else None
    if make is None:
        near = difflib.get_close_matches(str(name), _NAMED, 1)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        if name in RELU_RULES:
            hint = "It assigns no rules to layers; lrp takes it by name"
        raise InvalidInput("composite", f"must be one of {', '.join(_NAMED)}", repr(name), hint)
    parameters = inspect.signature(make).parameters
    required = [p for p, about in parameters.items() if about.default is about.empty]
    if not set(required) <= arguments.keys() <= parameters.keys():
        takes = ", ".join(f"{p} (required)" if p in required else p for p in parameters)
        hint = f"Write rx.composite({name!r}, {', '.join(f'{p}=...' for p in required)})" if required else ""
        raise InvalidInput("composite", f"{name} takes {takes}", ", ".join(arguments) or "none", hint)
    return make(**arguments)
