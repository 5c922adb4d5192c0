"""Composites: which node gets which rule (methods.md 3.3, 3.4)."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracles.lrp.node import WEIGHTED, Node
from tests.oracles.lrp.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Gate,
    Gradient,
    Norm,
    Pass,
    Rule,
    Winner,
    ZBox,
    ZPlus,
)

Composite = Callable[[Node], Rule | None]

_PLAIN = {
    "activation": Pass(),
    "batch_norm": Pass(),
    "add": Norm(),
    "average": Norm(),
    "upsample": Norm(),
    "max_pool": Winner(),
    "scale": Pass(),
    "shift": Pass(),
}


def _by_kind(kinds: dict[str, Rule], default: Rule | None = None, first: Rule | None = None, flag: str = "first"):
    """First layer, then kind, then `default`; None is no rule."""

    def choose(node: Node) -> Rule | None:
        if first is not None and getattr(node, flag):
            return first
        return kinds.get(node.kind, default)

    return choose


def each(rule: Rule) -> Composite:
    """One rule for every convolution and linear map."""
    return _by_kind(_PLAIN | dict.fromkeys(WEIGHTED, rule))


def _presets(convolution: Rule, first: Rule | None = None, flag: str = "first") -> Composite:
    return _by_kind(_PLAIN | {"convolution": convolution, "linear": Epsilon()}, None, first, flag)


def _gated(name: str) -> Composite:
    return _by_kind({"activation": Gate(name)}, Gradient())


def _box(low, high) -> Composite:
    return _presets(Gamma(0.25), ZBox(low, high), "first_convolution")


def _excitation() -> Composite:
    kinds = dict.fromkeys(WEIGHTED, ZPlus()) | {"add": Norm(), "average": Norm(), "activation": Gate("gradient")}
    return _by_kind(kinds, Gradient())


COMPOSITES: dict[str, Callable[..., Composite]] = {
    "epsilon": lambda: each(Epsilon()),
    "alpha1_beta0": lambda: each(AlphaBeta(1.0, 0.0)),
    "epsilon_plus": lambda: _presets(ZPlus()),
    "epsilon_plus_flat": lambda: _presets(ZPlus(), Flat()),
    "epsilon_alpha2_beta1": lambda: _presets(AlphaBeta(2.0, 1.0)),
    "epsilon_alpha2_beta1_flat": lambda: _presets(AlphaBeta(2.0, 1.0), Flat()),
    "epsilon_gamma_box": _box,
    "excitation_backprop": _excitation,
    "guided_backprop": lambda: _gated("guided_backprop"),
    "deconvnet": lambda: _gated("deconvnet"),
    "beta_smooth": lambda: _gated("beta_smooth"),
}


def composite(name: str, **arguments) -> Composite:
    """A composite by name; `epsilon_gamma_box` takes `low` and `high`."""
    if name not in COMPOSITES:
        raise ValueError(f"unknown composite {name!r}, one of {', '.join(COMPOSITES)}")
    return COMPOSITES[name](**arguments)
