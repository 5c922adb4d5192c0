"""LRP rules: how one layer hands the relevance of its outputs to its inputs.

Common form (Bach et al. 2015; Montavon et al. 2019): `R_in = x * W̃ᵀ(R / s(W̃ x + b̃))` with the stabiliser
`s(z) = z + ε sgn(z)`, sgn(0) = +1. A rule chooses W̃ and b̃, sometimes another x, sometimes several terms; ReLU passes
relevance on unchanged. Below `v⁺ = max(v, 0)` and `v⁻ = min(v, 0)`, elementwise.

`Epsilon`, `Zero`, `Gamma`, `ZPlus`, `AlphaBeta`, `WSquare`, `Flat`, `ZBox` and `SignAlpha` are rules of convolutions
and linear maps, `Norm` and `Zero` of sums, `Pass` of activations, `GuidedBackprop`, `DeconvNet` and `BetaSmooth` of
ReLUs, `Product` of products; `Gradient` fits everything. Any operation on one value can follow `Epsilon`, `Norm` and
`Zero`, as x * Jᵀ(R / s(y)) with its derivative J.

`bias` says what stands in the denominator: "transformed" (changed as the weights are), "kept" (as it is), "zero".
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch

from reluxfast.errors import InvalidInput

BIASES = ("transformed", "kept", "zero")


@dataclass(frozen=True)
class Rule:
    """What every rule is; see the module's text."""


def _check_number(rule: str, name: str, value: Any, least: float = 0.0) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not least <= value < math.inf:
        raise InvalidInput(name, f"of {rule} must be a finite number of at least {least:g}", repr(value))


def _check_flag(rule: str, name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidInput(name, f"of {rule} must be True or False", repr(value))


@dataclass(frozen=True)
class _Stabilised(Rule):
    epsilon: float = field(default=1e-6, kw_only=True)
    bias: str = field(default="transformed", kw_only=True)

    def __post_init__(self) -> None:
        _check_number(type(self).__name__, "epsilon", self.epsilon)
        if self.bias not in BIASES:
            raise InvalidInput("bias", f"of {type(self).__name__} must be one of {', '.join(BIASES)}", repr(self.bias))


@dataclass(frozen=True)
class Epsilon(_Stabilised):
    """LRP-ε: W̃ = W, b̃ = b.

    Args:
        epsilon: ε of the stabiliser.
        bias: see the module's text.
    """

    epsilon: float = 1e-6


@dataclass(frozen=True)
class Zero(Rule):
    """LRP-0, the limit ε -> 0 of `Epsilon`: on ReLU networks input x gradient; nothing is divided."""


@dataclass(frozen=True)
class Gamma(_Stabilised):
    """LRP-γ.

    Args:
        gamma: γ.
        epsilon, bias: see the module's text.
        split: True: the generalised form, where the sign of z, of the weight and of the input decide (W + γW⁺ and
            W + γW⁻ change places); False: W̃ = W + γW⁺ on the input as it is, for inputs that are not negative.
    """

    gamma: float = 0.25
    split: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("Gamma", "gamma", self.gamma)
        _check_flag("Gamma", "split", self.split)


@dataclass(frozen=True)
class ZPlus(_Stabilised):
    """z⁺: positive contributions only, D = W⁺x⁺ + W⁻x⁻ + b⁺.

    Args:
        epsilon, bias: see the module's text.
        split: False: W⁺ on the input as it is, for inputs that are not negative.
    """

    split: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_flag("ZPlus", "split", self.split)


@dataclass(frozen=True)
class AlphaBeta(_Stabilised):
    """α-β: α times the share of positive contributions minus β times that of negative ones.

    With β > 0 it conserves only where a neuron has contributions of both signs.

    Args:
        alpha, beta: not negative, alpha - beta = 1.
        epsilon, bias: see the module's text.
    """

    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("AlphaBeta", "alpha", self.alpha)
        _check_number("AlphaBeta", "beta", self.beta)
        if abs(self.alpha - self.beta - 1) > 1e-12:
            raise InvalidInput("alpha", "of AlphaBeta must be beta + 1", f"alpha {self.alpha}, beta {self.beta}")


@dataclass(frozen=True)
class WSquare(_Stabilised):
    """w²: in proportion to the squared weights, whatever the input; b² stands in the denominator."""


@dataclass(frozen=True)
class Flat(Rule):
    """Evenly to all inputs that a neuron sees; zero padding does not count.

    Args:
        epsilon: ε of the stabiliser.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_number("Flat", "epsilon", self.epsilon)


@dataclass(frozen=True, eq=False)
class ZBox(Rule):
    """z^B for inputs in a box: D = Wx - W⁺l - W⁻h.

    Args:
        low, high: the bounds l and h: numbers, or Tensors that fit one row (for instance (C, 1, 1)).
        epsilon: ε of the stabiliser.
    """

    low: float | torch.Tensor
    high: float | torch.Tensor
    epsilon: float = 1e-6

    def _key(self) -> tuple:
        return (*self._bounds, self.epsilon)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZBox) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __post_init__(self) -> None:
        _check_number("ZBox", "epsilon", self.epsilon)
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, torch.Tensor):
                # What the caller does with its memory later is no business of this rule.
                object.__setattr__(self, name, value.detach().clone())
            elif not isinstance(value, Real) or isinstance(value, bool):
                raise InvalidInput(name, "of ZBox must be a number or a Tensor that fits one row", repr(value))
        low, high = (torch.as_tensor(v, dtype=torch.float64).cpu() for v in (self.low, self.high))
        if not (low.isfinite().all() and high.isfinite().all()):
            raise InvalidInput("low", "and high of ZBox must be finite", f"{self.low} and {self.high}")
        try:
            fits = bool((low <= high).all())
        except RuntimeError:
            shapes = f"{tuple(low.shape)} and {tuple(high.shape)}"
            raise InvalidInput("low", "and high of ZBox must have shapes that broadcast", shapes) from None
        if not fits:
            raise InvalidInput("low", "of ZBox must not exceed high", f"{self.low} > {self.high}")
        bounds = tuple(
            (tuple(v.shape), hashlib.sha256(v.numpy().tobytes()).digest())
            for v in (low.contiguous(), high.contiguous())
        )
        object.__setattr__(self, "_bounds", bounds)


@dataclass(frozen=True)
class Norm(Rule):
    """Epsilon on an operation without parameters: average pooling, mean, sum, residual addition, upsampling.

    Args:
        epsilon: ε of the stabiliser.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_number("Norm", "epsilon", self.epsilon)


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance is handed on unchanged; input and output have one shape."""


@dataclass(frozen=True)
class Gradient(Rule):
    """The derivative of the operation, applied to relevance itself: R_in = Jᵀ R. It conserves only by chance."""


@dataclass(frozen=True)
class GuidedBackprop(Rule):
    """At a ReLU R_in = R·1[z > 0]·1[R > 0] (Springenberg et al. 2015)."""


@dataclass(frozen=True)
class DeconvNet(Rule):
    """At a ReLU R_in = R·1[R > 0] (Zeiler & Fergus 2014)."""


@dataclass(frozen=True)
class BetaSmooth(Rule):
    """At a ReLU R_in = R·sigmoid(βz), the derivative of softplus (Dombrowski et al. 2019, arXiv 1906.07983).

    Args:
        beta: β.
    """

    beta: float = 10.0

    def __post_init__(self) -> None:
        _check_number("BetaSmooth", "beta", self.beta)


@dataclass(frozen=True)
class SignAlpha(Rule):
    """R_j = Σ_i a_j / Σ_k a_k (1 + α sgn(w_ij)) R_i, whatever the size of weights; conserves **only** if α = 0.

    Args:
        alpha: α.
        epsilon: ε of the stabiliser.
    """

    alpha: float = 1.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_number("SignAlpha", "alpha", self.alpha, -math.inf)
        _check_number("SignAlpha", "epsilon", self.epsilon)


SHARES = ("signal", "half")


@dataclass(frozen=True)
class Product(Rule):
    """A product of two values that both depend on the input, as in squeeze-excitation.

    Args:
        share: "signal": all relevance goes to the operand that is no gate (a gate comes from a sigmoid, hardsigmoid,
            softmax or tanh, else it is the operand that is broadcast); "half": each operand gets half (Arras et al.
            2019 for both).
    """

    share: str = "signal"

    def __post_init__(self) -> None:
        if self.share not in SHARES:
            raise InvalidInput("share", f"of Product must be one of {', '.join(SHARES)}", repr(self.share))
