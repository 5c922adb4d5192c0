"""Zennit's rules: classes with its names and arguments, calls of which return rules of `reluxfast.rules`.

Biases are changed as the weights are, or left out with `zero_params="bias"`. Stabilisers are numbers: callables are
refused, as are other `zero_params` than "bias".
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch

from reluxfast import rules
from reluxfast.compat.zennit.errors import WrongShape, WrongType
from reluxfast.errors import InvalidInput
from reluxfast.rules import Rule

Names = str | Sequence[str] | None


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.made)


class Named(metaclass=_Kind):
    """Base of the rules: each makes a rule of the engine, which counts as its instance. None can be derived from."""

    made: type[Rule] = Rule

    def __init_subclass__(cls, makes: type[Rule] | None = None) -> None:
        if makes is None:
            rule = "must be one of reluxfast.compat.zennit.rules as it is, since it has no methods to override"
            remedy = "Set its arguments, or see reluxfast.rules for others"
            raise WrongType("rule", rule, f"{cls.__name__}, derived from {cls.__base__.__name__}", remedy)
        cls.made = makes


class Epsilon(Named, makes=rules.Epsilon):
    """LRP-ε; `epsilon` 0 is LRP-0."""

    def __new__(cls, epsilon: float = 1e-6, zero_params: Names = None) -> Rule:
        return rules.Epsilon(_stabiliser("epsilon", epsilon), bias=_bias(zero_params))


class ZPlus(Named, makes=rules.ZPlus):
    """z⁺, for inputs of either sign."""

    def __new__(cls, stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
        return rules.ZPlus(epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


class AlphaBeta(Named, makes=rules.AlphaBeta):
    """α-β; a ValueError unless both are not negative and alpha - beta = 1."""

    def __new__(
        cls, alpha: float = 2.0, beta: float = 1.0, stabilizer: float = 1e-6, zero_params: Names = None
    ) -> Rule:
        return rules.AlphaBeta(alpha, beta, epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


class Gamma(Named, makes=rules.Gamma):
    """The generalised γ rule, for inputs of either sign."""

    def __new__(cls, gamma: float = 0.25, stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
        return rules.Gamma(gamma, epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


class ZBox(Named, makes=rules.ZBox):
    """z^B for inputs between `low` and `high`.

    Args:
        low, high: numbers, or Tensors that broadcast against the input, batch dimension included: (1, C, 1, 1), or the
            input's own shape with all rows alike (bounds of single rows are refused).
        stabilizer, zero_params: see the module's text; the bias cancels anyway.
    """

    def __new__(
        cls, low: float | torch.Tensor, high: float | torch.Tensor, stabilizer: float = 1e-6, zero_params: Names = None
    ) -> Rule:
        _bias(zero_params)
        return rules.ZBox(_bound("low", low), _bound("high", high), epsilon=_stabiliser("stabilizer", stabilizer))


class WSquare(Named, makes=rules.WSquare):
    """w²; b² stands in the denominator."""

    def __new__(cls, stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
        return rules.WSquare(epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


class Flat(Named, makes=rules.Flat):
    """Evenly to all inputs that a neuron sees; the bias never counts."""

    def __new__(cls, stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
        _bias(zero_params)
        return rules.Flat(_stabiliser("stabilizer", stabilizer))


class Norm(Named, makes=rules.Norm):
    """By contribution, for layers without parameters: sums and average pools."""

    def __new__(cls, stabilizer: float = 1e-6) -> Rule:
        return rules.Norm(_stabiliser("stabilizer", stabilizer))


class Pass(Named, makes=rules.Pass):
    """Relevance is handed on unchanged."""

    def __new__(cls) -> Rule:
        return rules.Pass()


class ReLUGuidedBackprop(Named, makes=rules.GuidedBackprop):
    """Guided backpropagation at a ReLU."""

    def __new__(cls) -> Rule:
        return rules.GuidedBackprop()


class ReLUDeconvNet(Named, makes=rules.DeconvNet):
    """Deconvnet at a ReLU."""

    def __new__(cls) -> Rule:
        return rules.DeconvNet()


class ReLUBetaSmooth(Named, makes=rules.BetaSmooth):
    """The derivative of softplus, sigmoid(beta_smooth z), at a ReLU."""

    def __new__(cls, beta_smooth: float = 10.0) -> Rule:
        return rules.BetaSmooth(beta_smooth)


def fitted(rule: Rule, dims: int) -> Rule:
    """`rule` for a layer whose input has so many dimensions: bounds of a box get dimensions behind their own."""
    if not isinstance(rule, rules.ZBox):
        return rule

    def wide(bound: float | torch.Tensor) -> float | torch.Tensor:
        if not isinstance(bound, torch.Tensor) or not 0 < bound.dim() < dims:
            return bound
        return bound.reshape(*bound.shape, *[1] * (dims - bound.dim()))

    return rules.ZBox(wide(rule.low), wide(rule.high), rule.epsilon)


def _stabiliser(name: str, value: Any) -> float:
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    if callable(value):
        raise InvalidInput(name, "must be a number", repr(value), "Callable stabilizers have no fused kernel")
    raise WrongType(name, "must be a number", repr(value))


def _bias(zero_params: Names) -> str:
    names = [zero_params] if isinstance(zero_params, str) else list(zero_params or ())
    if any(name != "bias" for name in names):
        raise InvalidInput("zero_params", 'must be None, "bias" or ["bias"]', repr(zero_params))
    return "zero" if names else "transformed"


def _bound(name: str, value: Any) -> float | torch.Tensor:
    """A number, or one row (1, ...)."""
    if not isinstance(value, torch.Tensor) or value.dim() == 0 or value.shape[0] == 1:
        return value
    if value.shape[0] == 0 or not bool((value == value[:1]).all()):
        rule = "as a Tensor must have shape (1, ...) with the batch dimension in front, or rows that are all alike"
        raise WrongShape(name, rule, tuple(value.shape), "For bounds per channel pass (1, C, 1, 1)")
    return value[:1]
