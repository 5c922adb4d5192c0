"""Every rule for a linear map as a sum of parts.

A part is `scale * Σ_t X_t ⊙ W_tᵀ(R ⊙ 1[where] / s(D))` with `D = Σ_d W_d X_d + b̃`; X is the input, one of its signed
halves, ones, or a bound of a box, and each W combines the weight with its signed halves.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch

from reluxfast import rules
from reluxfast.rules import Rule


@dataclass(frozen=True)
class Weight:
    """W̃ = plain W + positive W⁺ + negative W⁻ + square W² + ones 1 + sign sgn(W)."""

    plain: float = 0.0
    positive: float = 0.0
    negative: float = 0.0
    square: float = 0.0
    ones: float = 0.0
    sign: float = 0.0

    def __add__(self, other: Weight) -> Weight:
        return Weight(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __rmul__(self, factor: float) -> Weight:
        return Weight(*(factor * a for a in astuple(self)))

    def of(self, w: torch.Tensor) -> torch.Tensor:
        """The combination for the weight (or bias) `w`."""
        if self == PLAIN:
            return w
        found = torch.zeros_like(w)
        for factor, value in (
            (self.plain, lambda: w),
            (self.positive, lambda: w.clamp(min=0)),
            (self.negative, lambda: w.clamp(max=0)),
            (self.square, lambda: w * w),
            (self.ones, lambda: torch.ones_like(w)),
            (self.sign, lambda: w.sign()),
        ):
            if factor:
                found = found + factor * value()
        return found


PLAIN, PLUS, MINUS = Weight(plain=1.0), Weight(positive=1.0), Weight(negative=1.0)


@dataclass(frozen=True)
class Term:
    """A weight applied to an operand: "x", "x+", "x-", "one", "low" or "high"."""

    operand: str
    weight: Weight


@dataclass(frozen=True)
class Part:
    """See the module's text.

    Attributes:
        scale: of the whole part.
        where: "all", or "z > 0" or "z < 0": for which outputs it stands.
        denominator, terms: of D, and of what is handed back.
        bias: combination of the bias in D; None: no bias.
        epsilon: of the stabiliser; None: nothing is divided, R / z is the multiplier itself (LRP-0).
    """

    scale: float
    where: str
    denominator: tuple[Term, ...]
    terms: tuple[Term, ...]
    bias: Weight | None
    epsilon: float | None


def parts_of(rule: Rule, positive_input: bool = False) -> tuple[Part, ...]:
    """The parts of a rule for a linear map.

    Args:
        rule: any rule that is defined for linear maps.
        positive_input: whether no input is negative, so that terms of x⁻ drop out and x⁺ is x.

    Raises:
        KeyError: the rule is not one for linear maps.
    """
    parts = _PARTS[type(rule)](rule)
    return tuple(_simplified(part) for part in parts) if positive_input else parts


def _simplified(part: Part) -> Part:
    def kept(terms: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(Term("x", t.weight) if t.operand == "x+" else t for t in terms if t.operand != "x-")

    return Part(part.scale, part.where, kept(part.denominator), kept(part.terms), part.bias, part.epsilon)


def _bias(rule: Rule, transformed: Weight) -> Weight | None:
    return {"transformed": transformed, "kept": PLAIN, "zero": None}[rule.bias]


def _same(rule: Rule, terms: tuple[Term, ...], bias: Weight | None, scale: float = 1.0, where: str = "all") -> Part:
    return Part(scale, where, terms, terms, bias, rule.epsilon)


def _epsilon(rule: rules.Epsilon) -> tuple[Part, ...]:
    return (_same(rule, (Term("x", PLAIN),), _bias(rule, PLAIN)),)


def _zero(rule: rules.Zero) -> tuple[Part, ...]:
    terms = (Term("x", PLAIN),)
    return (Part(1.0, "all", terms, terms, PLAIN, None),)


def _z_plus(rule: rules.ZPlus) -> tuple[Part, ...]:
    if not rule.split:
        return (_same(rule, (Term("x", PLUS),), _bias(rule, PLUS)),)
    return (_same(rule, (Term("x+", PLUS), Term("x-", MINUS)), _bias(rule, PLUS)),)


def _alpha_beta(rule: rules.AlphaBeta) -> tuple[Part, ...]:
    positive = _same(rule, (Term("x+", PLUS), Term("x-", MINUS)), _bias(rule, PLUS), rule.alpha)
    negative = _same(rule, (Term("x+", MINUS), Term("x-", PLUS)), _bias(rule, MINUS), -rule.beta)
    return tuple(part for part in (positive, negative) if part.scale)


def _gamma(rule: rules.Gamma) -> tuple[Part, ...]:
    up, down = Weight(plain=1.0, positive=rule.gamma), Weight(plain=1.0, negative=rule.gamma)
    if not rule.split:
        return (_same(rule, (Term("x", up),), _bias(rule, up)),)
    return (
        _same(rule, (Term("x+", up), Term("x-", down)), _bias(rule, up), where="z > 0"),
        _same(rule, (Term("x+", down), Term("x-", up)), _bias(rule, down), where="z < 0"),
    )


def _w_square(rule: rules.WSquare) -> tuple[Part, ...]:
    square = Weight(square=1.0)
    return (_same(rule, (Term("one", square),), _bias(rule, square)),)


def _flat(rule: rules.Flat) -> tuple[Part, ...]:
    return (_same(rule, (Term("one", Weight(ones=1.0)),), None),)


def _z_box(rule: rules.ZBox) -> tuple[Part, ...]:
    terms = (Term("x", PLAIN), Term("low", Weight(positive=-1.0)), Term("high", Weight(negative=-1.0)))
    return (_same(rule, terms, None),)


def _sign_alpha(rule: rules.SignAlpha) -> tuple[Part, ...]:
    below, above = (Term("x", Weight(ones=1.0)),), (Term("x", Weight(ones=1.0, sign=rule.alpha)),)
    return (Part(1.0, "all", below, above, None, rule.epsilon),)


_PARTS = {
    rules.Epsilon: _epsilon,
    rules.Norm: lambda rule: _epsilon(rules.Epsilon(rule.epsilon)),
    rules.Zero: _zero,
    rules.ZPlus: _z_plus,
    rules.AlphaBeta: _alpha_beta,
    rules.Gamma: _gamma,
    rules.WSquare: _w_square,
    rules.Flat: _flat,
    rules.ZBox: _z_box,
    rules.SignAlpha: _sign_alpha,
}
MAP_RULES = tuple(_PARTS)
