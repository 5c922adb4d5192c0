"""The rules of methods.md 3.2 and 3.8 as matrix formulas on one affine map `z = W x + b` at one point.

Signs: `W⁺ = max(W, 0)`, `W⁻ = min(W, 0)`, the same for x and b. The stabiliser is `s(z) = z + ε sgn(z)`, sgn(0) = +1.
Bias modes: "transformed" (like W), "kept" (b as it is), "zero".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """One affine map at one point.

    Attributes:
        matrix: W `(m, d)`.
        bias: b `(m,)`, zeros if the map has none.
        ones: `(m, d)`, 1 where the map reads an input (also through a weight that is 0), 0 elsewhere: no padding.
        x: `(d,)`.
        shape: the shape of x before it was flattened.
    """

    matrix: Tensor
    bias: Tensor
    ones: Tensor
    x: Tensor
    shape: tuple[int, ...]


class Share(NamedTuple):
    """Where the relevance of a node goes: `ΣR = Σ inputs + bias + stabiliser + rest`.

    `inputs` `(d,)`; the others are numbers. `rest` is what a rule that does not conserve makes or loses.
    """

    inputs: Tensor
    bias: float
    stabiliser: float
    rest: float = 0.0


def positive(v: Tensor) -> Tensor:
    """v⁺."""
    return v.clamp(min=0)


def negative(v: Tensor) -> Tensor:
    """v⁻."""
    return v.clamp(max=0)


def sign(v: Tensor) -> Tensor:
    """+1 where v >= 0 (also at -0.0), else -1."""
    return torch.where(v >= 0, 1.0, -1.0).to(v.dtype)


def quotient(r: Tensor, denominator: Tensor, epsilon: float) -> tuple[Tensor, float]:
    """`q = R / s(D)`, and the relevance that the stabiliser absorbs, `Σ ε sgn(D) q`.

    With ε = 0 a zero denominator distributes nothing: q = 0, and its R counts as absorbed.
    """
    shift = epsilon * sign(denominator)
    stabilised = denominator + shift
    dead = stabilised == 0
    q = torch.where(dead, torch.zeros_like(r), r / torch.where(dead, torch.ones_like(r), stabilised))
    return q, float(torch.where(dead, r, shift * q).sum())


def signed_parts(layer: Affine, r: Tensor, w_p: Tensor, w_n: Tensor, bias: Tensor, epsilon: float) -> Share:
    """`D = W_p x⁺ + W_n x⁻ + b̃`, `q = R / s(D)`, `x⁺ ⊙ W_pᵀ q + x⁻ ⊙ W_nᵀ q`."""
    x_p, x_n = positive(layer.x), negative(layer.x)
    q, absorbed = quotient(r, w_p @ x_p + w_n @ x_n + bias, epsilon)
    return Share(x_p * (w_p.T @ q) + x_n * (w_n.T @ q), float((bias * q).sum()), absorbed)


def combine(*parts: tuple[float, Share]) -> Share:
    """`Σ c · share`."""
    return Share(*(sum(c * share[i] for c, share in parts) for i in range(4)))


@dataclass(frozen=True)
class Rule:
    """How one node hands its relevance to its inputs."""

    def mode(self, bias: Tensor, transformed: Tensor) -> Tensor:
        """b̃ under this rule's bias mode."""
        return {"transformed": transformed, "kept": bias, "zero": torch.zeros_like(bias)}[self.bias]

    def share(self, layer: Affine, r: Tensor) -> Share:
        """Distributes `r` `(m,)`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Epsilon(Rule):
    """`x ⊙ Wᵀ(R ⊘ s(W x + b̃))`; transformed and kept bias are the same."""

    epsilon: float = 1e-6
    bias: str = "transformed"

    def share(self, layer: Affine, r: Tensor) -> Share:
        b = self.mode(layer.bias, layer.bias)
        q, absorbed = quotient(r, layer.matrix @ layer.x + b, self.epsilon)
        return Share(layer.x * (layer.matrix.T @ q), float((b * q).sum()), absorbed)


@dataclass(frozen=True)
class Zero(Epsilon):
    """LRP-0: epsilon with ε = 0."""

    epsilon: float = 0.0


@dataclass(frozen=True)
class Norm(Epsilon):
    """Epsilon on an operation without parameters."""


@dataclass(frozen=True)
class Gamma(Rule):
    """Generalised: `W_p = W + γW⁺` and `W_n = W + γW⁻` where z > 0, exchanged where z < 0; z = 0 gives nothing.

    form="positive_input": `x ⊙ W̃ᵀ(R ⊘ s(W̃ x + b̃))`, `W̃ = W + γW⁺`, x as it stands.
    """

    gamma: float = 0.25
    epsilon: float = 1e-6
    bias: str = "transformed"
    form: str = "generalised"

    def share(self, layer: Affine, r: Tensor) -> Share:
        w, b, g = layer.matrix, layer.bias, self.gamma
        w_p, b_p = w + g * positive(w), self.mode(b, b + g * positive(b))
        if self.form == "positive_input":
            return Epsilon(self.epsilon).share(Affine(w_p, b_p, layer.ones, layer.x, layer.shape), r)
        w_n, b_n = w + g * negative(w), self.mode(b, b + g * negative(b))
        z = w @ layer.x + b
        nothing = torch.zeros_like(r)
        above = signed_parts(layer, torch.where(z > 0, r, nothing), w_p, w_n, b_p, self.epsilon)
        below = signed_parts(layer, torch.where(z < 0, r, nothing), w_n, w_p, b_n, self.epsilon)
        lost = Share(torch.zeros_like(layer.x), 0.0, float(r[z == 0].sum()))
        return combine((1.0, above), (1.0, below), (1.0, lost))


@dataclass(frozen=True)
class ZPlus(Rule):
    """`D = W⁺x⁺ + W⁻x⁻ + b̃`, `x⁺ ⊙ W⁺ᵀq + x⁻ ⊙ W⁻ᵀq`.

    form="positive_input": `x ⊙ W⁺ᵀ(R ⊘ s(W⁺x + b̃))`, x as it stands.
    """

    epsilon: float = 1e-6
    bias: str = "transformed"
    form: str = "signed"

    def share(self, layer: Affine, r: Tensor) -> Share:
        w_p, w_n = positive(layer.matrix), negative(layer.matrix)
        b = self.mode(layer.bias, positive(layer.bias))
        if self.form == "positive_input":
            return Epsilon(self.epsilon).share(Affine(w_p, b, layer.ones, layer.x, layer.shape), r)
        return signed_parts(layer, r, w_p, w_n, b, self.epsilon)


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """`α [z⁺ terms] - β [x⁺ ⊙ W⁻ᵀq' + x⁻ ⊙ W⁺ᵀq']`, `q' = R ⊘ s(W⁻x⁺ + W⁺x⁻ + b̃⁻)`."""

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-6
    bias: str = "transformed"

    def __post_init__(self) -> None:
        if min(self.alpha, self.beta) < 0 or self.alpha - self.beta != 1:
            raise ValueError(f"alpha, beta >= 0 and alpha - beta = 1, got {self.alpha} and {self.beta}")

    def share(self, layer: Affine, r: Tensor) -> Share:
        w_p, w_n, b = positive(layer.matrix), negative(layer.matrix), layer.bias
        activating = signed_parts(layer, r, w_p, w_n, self.mode(b, positive(b)), self.epsilon)
        inhibiting = signed_parts(layer, r, w_n, w_p, self.mode(b, negative(b)), self.epsilon)
        return combine((self.alpha, activating), (-self.beta, inhibiting))


@dataclass(frozen=True)
class WSquare(Rule):
    """`W²ᵀ(R ⊘ s(W²·1 + b̃²))`; x is not used."""

    epsilon: float = 1e-6
    bias: str = "transformed"

    def share(self, layer: Affine, r: Tensor) -> Share:
        square, b = layer.matrix**2, self.mode(layer.bias, layer.bias**2)
        q, absorbed = quotient(r, square.sum(1) + b, self.epsilon)
        return Share(square.T @ q, float((b * q).sum()), absorbed)


@dataclass(frozen=True)
class Flat(Rule):
    """`1ᵀ(R ⊘ s(1·1 + b̃))`: W and x replaced by ones; a transformed bias is 1 where the map has one."""

    epsilon: float = 1e-6
    bias: str = "zero"

    def share(self, layer: Affine, r: Tensor) -> Share:
        b = self.mode(layer.bias, (layer.bias != 0).to(r.dtype))
        q, absorbed = quotient(r, layer.ones.sum(1) + b, self.epsilon)
        return Share(layer.ones.T @ q, float((b * q).sum()), absorbed)


@dataclass(frozen=True)
class ZBox(Rule):
    """`D = Wx - W⁺l - W⁻h`, `x ⊙ Wᵀq - l ⊙ W⁺ᵀq - h ⊙ W⁻ᵀq`; the bias cancels unless it is kept.

    `low`, `high`: numbers, or tensors that broadcast to the map's input.
    """

    low: float | Tensor
    high: float | Tensor
    epsilon: float = 1e-6
    bias: str = "transformed"

    def share(self, layer: Affine, r: Tensor) -> Share:
        low, high = (torch.as_tensor(v, dtype=r.dtype).expand(layer.shape).flatten() for v in (self.low, self.high))
        w, w_p, w_n = layer.matrix, positive(layer.matrix), negative(layer.matrix)
        b = self.mode(layer.bias, torch.zeros_like(layer.bias))
        q, absorbed = quotient(r, w @ layer.x - w_p @ low - w_n @ high + b, self.epsilon)
        inputs = layer.x * (w.T @ q) - low * (w_p.T @ q) - high * (w_n.T @ q)
        return Share(inputs, float((b * q).sum()), absorbed)


@dataclass(frozen=True)
class SignAlpha(Rule):
    """`R_j = Σ_i a_j / s(Σ_k a_k) · (1 + α sgn(w_ij)) R_i`, sgn(0) = 0, k over the receptive field of i."""

    alpha: float = 1.0
    epsilon: float = 1e-6

    def share(self, layer: Affine, r: Tensor) -> Share:
        q, absorbed = quotient(r, layer.ones @ layer.x, self.epsilon)
        inputs = layer.x * ((layer.ones * (1 + self.alpha * torch.sign(layer.matrix))).T @ q)
        return Share(inputs, 0.0, absorbed, float(r.sum() - inputs.sum()) - absorbed)


@dataclass(frozen=True)
class Gradient(Rule):
    """`Jᵀ R` with the node's own derivative; not conserving in general."""

    def share(self, layer: Affine, r: Tensor) -> Share:
        inputs = layer.matrix.T @ r
        return Share(inputs, 0.0, 0.0, float(r.sum() - inputs.sum()))


@dataclass(frozen=True)
class Winner(Rule):
    """R of each pooled value to the element it was taken from."""

    def share(self, layer: Affine, r: Tensor) -> Share:
        return Share(layer.matrix.T @ r, 0.0, 0.0)


@dataclass(frozen=True)
class Pass(Rule):
    """R copied."""


@dataclass(frozen=True)
class Gate(Rule):
    """What a ReLU `lo < z < hi` does to a signal g: gradient, guided_backprop, deconvnet (methods.md 2), beta_smooth.

    beta_smooth: `g ⊙ sigmoid(βz)`.
    """

    name: str = "gradient"
    beta: float = 10.0

    def gated(self, z: Tensor, g: Tensor, high: float) -> Tensor:
        """The signal at the ReLU's input."""
        if self.name == "beta_smooth":
            return g * torch.sigmoid(self.beta * z)
        opened, wanted = (z > 0) & (z < high), g > 0
        keep = {"gradient": opened, "guided_backprop": opened & wanted, "deconvnet": wanted}[self.name]
        return torch.where(keep, g, torch.zeros_like(g))


@dataclass(frozen=True)
class Product(Rule):
    """A product of two activations: all of R to the operand that is not the gate ("signal"), or a half to each."""

    split: str = "signal"
