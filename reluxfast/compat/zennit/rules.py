"""Zennit's rules: constructors with its names and arguments that return rules of `reluxfast.rules`.

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


def Epsilon(epsilon: float = 1e-6, zero_params: Names = None) -> Rule:
    """LRP-ε; `epsilon` 0 is LRP-0."""
    return rules.Epsilon(_stabiliser("epsilon", epsilon), bias=_bias(zero_params))


def ZPlus(stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
    """z⁺, for inputs of either sign."""
    return rules.ZPlus(epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


def AlphaBeta(alpha: float = 2.0, beta: float = 1.0, stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
    """α-β; a ValueError unless both are not negative and alpha - beta = 1."""
    return rules.AlphaBeta(alpha, beta, epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


def Gamma(gamma: float = 0.25, stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
    """The generalised γ rule, for inputs of either sign."""
    return rules.Gamma(gamma, epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


def ZBox(
    low: float | torch.Tensor, high: float | torch.Tensor, stabilizer: float = 1e-6, zero_params: Names = None
) -> Rule:
    """z^B for inputs between `low` and `high`.

    Args:
        low, high: numbers, or Tensors that broadcast against the input, batch dimension included: (1, C, 1, 1), or the
            input's own shape with all rows alike (bounds of single rows are refused).
        stabilizer, zero_params: see the module's text; the bias cancels anyway.
    """
    _bias(zero_params)
    return rules.ZBox(_bound("low", low), _bound("high", high), epsilon=_stabiliser("stabilizer", stabilizer))


def WSquare(stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
    """w²; b² stands in the denominator."""
    return rules.WSquare(epsilon=_stabiliser("stabilizer", stabilizer), bias=_bias(zero_params))


def Flat(stabilizer: float = 1e-6, zero_params: Names = None) -> Rule:
    """Evenly to all inputs that a neuron sees; the bias never counts."""
    _bias(zero_params)
    return rules.Flat(_stabiliser("stabilizer", stabilizer))


def Norm(stabilizer: float = 1e-6) -> Rule:
    """By contribution, for layers without parameters: sums and average pools."""
    return rules.Norm(_stabiliser("stabilizer", stabilizer))


def Pass() -> Rule:
    """Relevance is handed on unchanged."""
    return rules.Pass()


def ReLUGuidedBackprop() -> Rule:
    """Guided backpropagation at a ReLU."""
    return rules.GuidedBackprop()


def ReLUDeconvNet() -> Rule:
    """Deconvnet at a ReLU."""
    return rules.DeconvNet()


def ReLUBetaSmooth(beta_smooth: float = 10.0) -> Rule:
    """The derivative of softplus, sigmoid(beta_smooth z), at a ReLU."""
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
