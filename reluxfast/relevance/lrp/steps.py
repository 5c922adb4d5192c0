"""Steps of a relevance walk.

A signal at a value v is a multiplier c, with relevance R = v ⊙ c, or the relevance R itself; the plan fixes which. With
multipliers most rules are the gradient walk with one factor per output, `v / s(D)`, made on the way forward; where a
rule hands relevance to values that are 0 there is no multiplier, and R is carried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from reluxfast.relevance.frame import Frame
from reluxfast.relevance.lrp.parts import Part
from reluxfast.relevance.maps import ConvMap, LinearMap
from reluxfast.relevance.steps import Signals, Step

MULTIPLIER, RELEVANCE = "multiplier", "relevance"


def stabilised(z: torch.Tensor, epsilon: float) -> torch.Tensor:
    """s(z) = z + ε sgn(z), sgn(0) = +1."""
    return torch.where(z >= 0, z + epsilon, z - epsilon)


def quotient(v: torch.Tensor | None, d: torch.Tensor, epsilon: float) -> torch.Tensor:
    """v / s(d), exactly 0 where v is 0; 1 / s(d) without v."""
    if v is None:
        return stabilised(d, epsilon).reciprocal()
    return torch.where(v == 0, v.new_zeros(()), v / stabilised(d, epsilon))


def row_sums(r: torch.Tensor) -> torch.Tensor:
    """(N,) sums of relevance (N, ...), in float64."""
    return r.double().flatten(1).sum(1) if r.dim() > 1 else r.double()


def _total_of(relevance: Any) -> torch.Tensor:
    return sum(map(row_sums, relevance)) if isinstance(relevance, list) else row_sums(relevance)


def per_signal(kept: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """`kept` (N, ...) shaped to be combined with g (times * N, ...), class-major."""
    times = g.shape[0] // max(kept.shape[0], 1)
    return kept if times == 1 else kept.repeat(times, *[1] * (kept.dim() - 1))


@dataclass
class Bound:
    """One map of a part: what it is applied to, and the map with the part's weight.

    Attributes:
        operand: as in `parts.Term`.
        map: W̃ (and b̃ in a denominator's first map).
    """

    operand: str
    map: ConvMap | LinearMap


@dataclass
class BoundPart:
    """A part with its maps.

    Attributes:
        part: what it computes.
        denominator: maps whose sum is D; empty: D is `mixture` of z and the first part's D.
        terms: maps whose transposes hand relevance back.
        mixture: factors of z and of the first part's D.
        bias: b̃ (C_out,), or None.
    """

    part: Part
    denominator: list[Bound]
    terms: list[Bound]
    mixture: tuple[float, float] = (1.0, 0.0)
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class Account:
    """Relevance of each row, (times * N,) in float64.

    Attributes:
        relevance: at the value, in its shape; a list where the value is several.
        incoming: its sum.
        outgoing: operand -> what it was handed.
        bias, absorbed: what bias and stabiliser took.
    """

    relevance: Any
    incoming: torch.Tensor
    outgoing: dict[str, torch.Tensor]
    bias: torch.Tensor
    absorbed: torch.Tensor


@dataclass
class RelevanceStep(Step):
    """Attributes:
    form: of the signal that arrives at the value.
    hands: operand -> form it must be given.
    """

    form: str = MULTIPLIER
    hands: dict[str, str] = field(default_factory=dict)

    def _hand(self, frame, name: str, g: torch.Tensor, native: str, owned: bool) -> tuple[str, torch.Tensor, bool]:
        """The signal in the form that the operand is given; a multiplier becomes relevance by the operand's value."""
        if native == MULTIPLIER and self.hands.get(name) == RELEVANCE:
            return name, per_signal(frame.saved[self._key(name)], g) * g, True
        return name, g, owned

    def _keep_operands(self, frame, native: str) -> None:
        if native == MULTIPLIER:
            for name in self.inputs:
                if self.hands.get(name) == RELEVANCE:
                    frame.saved[self._key(name)] = frame.values[name]

    def _key(self, name: str) -> str:
        return f"{self.name} of {name}"

    def accounted(self, frame, g: Any, handed: Signals) -> Account:
        """What became of the relevance at the value, given the signal `g` there and what was handed on."""
        relevance = self._relevance(frame, self.name, g, self.form)
        incoming, outgoing = _total_of(relevance), {}
        for name, t, _ in handed:
            more = _total_of(self._relevance(frame, name, t, self.hands.get(name, MULTIPLIER)))
            outgoing[name] = outgoing[name] + more if name in outgoing else more
        bias, absorbed = self._taken(frame, g, incoming, sum(outgoing.values()))
        return Account(relevance, incoming, outgoing, bias, absorbed)

    def _taken(
        self, frame, g: Any, incoming: torch.Tensor, outgoing: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Relevance that went to the bias and to the stabiliser, (times * N,) each."""
        return torch.zeros_like(incoming), torch.zeros_like(incoming)

    def _relevance(self, frame, name: str, g: Any, form: str) -> Any:
        value = frame.values[name]
        if isinstance(g, dict):
            return [t if form == RELEVANCE else per_signal(value[i], t) * t for i, t in sorted(g.items())]
        return g if form == RELEVANCE else per_signal(value, g) * g


@dataclass
class MapStep(RelevanceStep):
    """A convolution or linear map under a rule, with the ReLU behind it if there is one.

    Attributes:
        map: W and b.
        parts: of the rule.
        bounds: lo, hi of the clamp that is part of this step, or None.
        gated: whether that clamp lets no relevance through where it is shut (its derivative), as such or not.
        low, high: bounds of a box, where a part names them; shaped to broadcast against the input.
    """

    map: ConvMap | LinearMap | None = None
    parts: list[BoundPart] = field(default_factory=list)
    bounds: tuple[float, float] | None = None
    gated: bool = False
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None
    makes_fresh = True

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        operands = {term.operand for part in self.parts for term in part.terms}
        return MULTIPLIER if operands <= {"x", "x+", "x-"} else RELEVANCE

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        z = self.map.forward(x)
        v = z if self.bounds is None else z.clamp(*self.bounds)
        if self.name in frame.keeps:
            found: list[torch.Tensor | None] = []
            first = None
            for part in self.parts:
                if part.part.epsilon is None:
                    found.append(self._undivided(v, z))
                    continue
                d = self._denominator(part, x, z, first)
                first = d if first is None else first
                found.append(self._gate(part.part, v, z, d))
            frame.saved[self.name] = (found, tuple(x.shape[2:]))
            operands = {term.operand for part in self.parts for term in part.terms}
            if operands & {"x+", "x-"}:
                frame.saved[self._key("sign")] = x > 0
            if self.native == RELEVANCE and operands & {"x", "x+", "x-"}:
                frame.saved[self._key("x")] = x
            self._keep_operands(frame, self.native)
        return v

    def _undivided(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor | None:
        """The factor v / z of LRP-0: None where it is 1 everywhere."""
        if self.form == RELEVANCE:
            shut = v == 0 if self.gated else z == 0
            return torch.where(shut, z.new_zeros(()), z.reciprocal())
        return None if self.bounds is None else torch.where(v == 0, v.new_zeros(()), v / z)

    def _denominator(
        self, part: BoundPart, x: torch.Tensor, z: torch.Tensor, first: torch.Tensor | None
    ) -> torch.Tensor:
        if not part.denominator:
            of_z, of_first = part.mixture
            return z if (of_z, of_first) == (1.0, 0.0) else of_z * z + of_first * first
        d = None
        for bound in part.denominator:
            y = bound.map.forward(self._operand(bound.operand, x))
            d = y if d is None else d + y
        return d

    def _gate(self, part: Part, v: torch.Tensor, z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        gate = quotient(None if self.form == RELEVANCE else v, d, part.epsilon)
        if self.gated and self.form == RELEVANCE:
            gate = torch.where(v == 0, gate.new_zeros(()), gate)
        if part.where != "all":
            gate = torch.where(z > 0 if part.where == "z > 0" else z < 0, gate, gate.new_zeros(()))
        return gate if part.scale == 1 else gate * part.scale

    def _operand(self, operand: str, x: torch.Tensor) -> torch.Tensor:
        if operand == "x":
            return x
        if operand in ("x+", "x-"):
            return x.clamp(min=0) if operand == "x+" else x.clamp(max=0)
        if operand == "one":
            return torch.ones_like(x)
        return (self.low if operand == "low" else self.high).expand_as(x)

    def reverse(self, frame, g):
        gates, spatial = frame.saved[self.name]
        sums: dict[str, torch.Tensor] = {}
        for part, gate in zip(self.parts, gates, strict=True):
            u = g if gate is None else per_signal(gate, g) * g
            for bound in part.terms:
                t = bound.map.backward(u, spatial) if isinstance(bound.map, ConvMap) else bound.map.backward(u)
                sums[bound.operand] = sums[bound.operand] + t if bound.operand in sums else t
        (name,) = self.inputs
        return [self._hand(frame, name, self._combined(frame, sums), self.native, True)]

    def _taken(self, frame, g, incoming, outgoing):
        x = frame.values[self.inputs[0]]
        z = self.map.forward(x)
        bias, absorbed, first = torch.zeros_like(incoming), torch.zeros_like(incoming), None
        for part, gate in zip(self.parts, frame.saved[self.name][0], strict=True):
            u = g if gate is None else per_signal(gate, g) * g
            if part.bias is not None:
                shape = (-1, *[1] * (u.dim() - 2)) if isinstance(self.map, ConvMap) else (-1,)
                bias += row_sums(u * part.bias.view(shape))
            if part.part.epsilon is not None:
                d = self._denominator(part, x, z, first)
                first = d if first is None else first
                signed = torch.where(d >= 0, part.part.epsilon, -part.part.epsilon).to(d.dtype)
                absorbed += row_sums(u * per_signal(signed, u))
        return bias, absorbed

    def _combined(self, frame, sums: dict[str, torch.Tensor]) -> torch.Tensor:
        if set(sums) == {"x"}:
            total = sums["x"]
            if self.native == RELEVANCE:
                total = per_signal(frame.saved[self._key("x")], total) * total
            return total
        if self.native == MULTIPLIER:
            any_sum = next(iter(sums.values()))
            zero = any_sum.new_zeros(())
            positive = per_signal(frame.saved[self._key("sign")], any_sum)
            total = torch.where(positive, sums.get("x+", zero), sums.get("x-", zero))
            return total + sums["x"] if "x" in sums else total
        total = None
        for operand, t in sums.items():
            if operand != "one":
                x = frame.saved.get(self._key("x"))
                value = self._operand(operand, x) if x is not None else None
                t = per_signal(value, t) * t
            total = t if total is None else total + t
        return total


@dataclass
class SumStep(RelevanceStep):
    """An operation without parameters under the norm rule: c_in = opᵀ(v / s(y) ⊙ c), with the ReLU behind it.

    Attributes:
        inner: the operation as the gradient walk has it.
        epsilon: of the stabiliser; None: LRP-0.
        bounds, gated: as in `MapStep`.
    """

    inner: Step | None = None
    epsilon: float | None = 1e-6
    bounds: tuple[float, float] | None = None
    gated: bool = False
    makes_fresh = True

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        y = self.inner.forward(frame)
        v = y if self.bounds is None else y.clamp(*self.bounds)
        if self.name in frame.keeps:
            frame.saved[self._key("gate")] = self._gate(v, y)
            self._keep_operands(frame, MULTIPLIER)
        return v

    def _gate(self, v: torch.Tensor, y: torch.Tensor) -> torch.Tensor | None:
        shut = v == 0 if self.gated else y == 0
        if self.epsilon is not None:
            gate = quotient(None if self.form == RELEVANCE else v, y, self.epsilon)
            return torch.where(shut, gate.new_zeros(()), gate) if self.gated else gate
        if self.form == RELEVANCE:
            return torch.where(shut, y.new_zeros(()), y.reciprocal())
        return None if self.bounds is None else torch.where(v == 0, v.new_zeros(()), v / y)

    def reverse(self, frame, g):
        gate = frame.saved[self._key("gate")]
        u = g if gate is None else per_signal(gate, g) * g
        return [self._hand(frame, n, t, MULTIPLIER, owned) for n, t, owned in self.inner.reverse(frame, u)]

    def _taken(self, frame, g, incoming, outgoing):
        if self.epsilon is None:
            # What a derivative does not hand on: shifts, and curvature.
            return incoming - outgoing, torch.zeros_like(incoming)
        gate = frame.saved[self._key("gate")]
        u = per_signal(gate, g) * g
        inner = Frame(frame.rows, frame.rule, values=frame.values)
        y = self.inner.forward(inner)
        signed = torch.where(y >= 0, self.epsilon, -self.epsilon).to(y.dtype)
        absorbed = row_sums(u * per_signal(signed, u))
        return row_sums(u * per_signal(y, u)) - outgoing, absorbed


@dataclass
class DerivativeStep(RelevanceStep):
    """R_in = Jᵀ R.

    Attributes:
        inner: the operation as the gradient walk has it.
        exact: whether each result is 0 or an element of an operand, so that a multiplier may pass in the same way.
    """

    inner: Step | None = None
    exact: bool = False

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        return self.form if self.exact else RELEVANCE

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        y = self.inner.forward(frame)
        if self.name in frame.keeps and self.form == MULTIPLIER:
            if not self.exact:
                frame.saved[self._key("y")] = y
            self._keep_operands(frame, self.native)
        return y

    def reverse(self, frame, g):
        if self.form == MULTIPLIER and not self.exact:
            g = per_signal(frame.saved[self._key("y")], g) * g
        return [self._hand(frame, n, t, self.native, owned) for n, t, owned in self.inner.reverse(frame, g)]

    def _taken(self, frame, g, incoming, outgoing):
        return incoming - outgoing, torch.zeros_like(incoming)


@dataclass
class CarryStep(RelevanceStep):
    """Relevance stays with the elements it belongs to, multiplier or not: reshapes, concatenation, pool winners.

    Attributes:
        inner: the operation as the gradient walk has it.
        unchanged: whether relevance, as such, passes without a factor (multiples by a constant).
    """

    inner: Step | None = None
    unchanged: bool = False

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        if self.name in frame.keeps:
            self._keep_operands(frame, self.form)
        return self.inner.forward(frame)

    def reverse(self, frame, g):
        if self.unchanged and self.form == RELEVANCE:
            return [(self.inputs[0], g, False)]
        return [
            (n, t, owned) if isinstance(t, dict) else self._hand(frame, n, t, self.form, owned)
            for n, t, owned in self.inner.reverse(frame, g)
        ]


@dataclass
class ItemOfStep(RelevanceStep):
    """One of several results; where the others carry relevance, so does it."""

    inner: Step | None = None

    def forward(self, frame):
        y = self.inner.forward(frame)
        if self.name in frame.keeps and self._converts():
            frame.saved[self._key("y")] = y
        return y

    def _converts(self) -> bool:
        return self.form == MULTIPLIER and self.hands.get(self.inputs[0]) == RELEVANCE

    def reverse(self, frame, g):
        if self._converts():
            g = per_signal(frame.saved[self._key("y")], g) * g
        return self.inner.reverse(frame, g)


@dataclass
class PassStep(RelevanceStep):
    """Relevance is handed on unchanged: R_x = R_y.

    Attributes:
        inner: the operation as the gradient walk has it.
        ratio: whether y is 0 where x is, so that a multiplier may pass as y / x.
    """

    inner: Step | None = None
    ratio: bool = True
    makes_fresh = True

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        return MULTIPLIER if self.ratio and self.form == MULTIPLIER else RELEVANCE

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        y: Any = self.inner.forward(frame)
        if self.name in frame.keeps and self.form == MULTIPLIER:
            kept = torch.where(x == 0, x.new_zeros(()), y / x) if self.ratio else y
            frame.saved[self._key("factor")] = kept
            self._keep_operands(frame, self.native)
        return y

    def reverse(self, frame, g):
        if self.form == MULTIPLIER:
            g = per_signal(frame.saved[self._key("factor")], g) * g
        return [self._hand(frame, self.inputs[0], g, self.native, self.form == MULTIPLIER)]
