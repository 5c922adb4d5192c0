"""A value at x and at the reference, and the multipliers by which functions hand on the difference of the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Function = Callable[[torch.Tensor], torch.Tensor]


def multiplier(dy: torch.Tensor, dz: torch.Tensor, derivative: torch.Tensor, eps: float) -> torch.Tensor:
    """Δy/Δz where abs(Δz) >= eps, else the derivative at x."""
    return torch.where(dz.abs() < eps, derivative, dy / dz)


def derivative(function: Function, z: torch.Tensor) -> torch.Tensor:
    """Derivative at z of a function of each element."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        (found,) = torch.autograd.grad(function(z).sum(), z)
    return found


@dataclass(frozen=True)
class Pair:
    """Attributes:
    value: at x.
    reference: at the reference; one row where that is shared by all.
    through: what signals go back through: linear in the operands, so that its transpose holds the multipliers. Its own
        numbers mean nothing.
    """

    value: torch.Tensor
    reference: torch.Tensor
    through: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """Half of value and reference together."""
        return (self.value + self.reference) / 2

    def linear(self, function: Function) -> Pair:
        """A linear function of it."""
        return Pair(function(self.value), function(self.reference), function(self.through))

    def apply(self, function: Function, eps: float) -> Pair:
        """A function of each element; its multiplier in float64, as close values leave few digits to a difference."""
        x, reference = self.value.double(), self.reference.double()
        y, there = function(x), function(reference)
        slope = multiplier(y - there, x - reference, derivative(function, x), eps)
        y, there, slope = (v.to(self.value.dtype) for v in (y, there, slope))
        return Pair(y, there, slope * self.through)

    def product(self, other: Pair, function: Callable = torch.mul) -> Pair:
        """A function linear in each operand: Δ(ab) = Δa · mean of b + mean of a · Δb."""
        through = function(self.through, other.mean) + function(self.mean, other.through)
        return Pair(function(self.value, other.value), function(self.reference, other.reference), through)

    def square(self) -> Pair:
        """Δ(a²) = 2 · mean of a · Δa."""
        return Pair(self.value**2, self.reference**2, 2 * self.mean * self.through)

    def root(self) -> Pair:
        """Δ√s = Δs / (√s + √s'), 0 where both are 0."""
        value, reference = self.value.sqrt(), self.reference.sqrt()
        total = value + reference
        return Pair(value, reference, torch.where(total == 0, 0, 1 / total) * self.through)

    def reciprocal(self) -> Pair:
        """Δ(1/b) = -Δb / (b b')."""
        through = -self.through / (self.value * self.reference)
        return Pair(1 / self.value, 1 / self.reference, through)


def normalised(x: Pair, dims: Sequence[int], epsilon: float, centred: bool = True) -> Pair:
    """x, less its mean if `centred`, over the root of its mean square plus epsilon, along dims."""
    if centred:
        x = x.linear(lambda v: v - v.mean(dims, keepdim=True))
    power = x.square().linear(lambda v: v.mean(dims, keepdim=True))
    shifted = Pair(power.value + epsilon, power.reference + epsilon, power.through)
    return x.product(shifted.root().reciprocal())


def logsumexp(x: Pair, dims: Sequence[int]) -> Pair:
    """log Σ exp x, dims kept: exp, sum and log by the rescale rule, in a form that does not overflow.

    Δ log Σ exp x = Σ_j w_j Δx_j with w_j = L(exp x_j, exp x'_j) / L(Σ exp x, Σ exp x'), where L(a, b) =
    (a - b) / (log a - log b) is the logarithmic mean.
    """
    value, reference = (torch.logsumexp(v, dims, keepdim=True) for v in (x.value, x.reference))
    weight = (_log_mean(x.value, x.reference) - _log_mean(value, reference)).exp()
    return Pair(value, reference, (weight * x.through).sum(dims, keepdim=True))


def log_softmax(x: Pair, dim: int) -> Pair:
    """x - logsumexp(x)."""
    total = logsumexp(x, [dim])
    return Pair(x.value - total.value, x.reference - total.reference, x.through - total.through)


def softmax(x: Pair, dim: int) -> Pair:
    """exp(log_softmax(x)), exp by the rescale rule."""
    log = log_softmax(x, dim)
    return Pair(log.value.exp(), log.reference.exp(), _log_mean(log.value, log.reference).exp() * log.through)


def _log_mean(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """log L(exp u, exp v); u where both are equal, -inf included."""
    d = torch.where(u == v, 0, (u - v).abs())
    return torch.maximum(u, v) + torch.where(d == 0, 0, (-torch.expm1(-d) / d).log())
