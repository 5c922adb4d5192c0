"""A convolution or linear map under a rule."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from reluxfast.relevance.frame import may_write
from reluxfast.relevance.lrp.gates import Denominator, GatedStep, applied
from reluxfast.relevance.lrp.parts import Part
from reluxfast.relevance.lrp.signals import MULTIPLIER, RELEVANCE, per_signal, row_sums
from reluxfast.relevance.maps import ConvMap, LinearMap

_BRANCHES = {"all": 0, "z > 0": 1, "z < 0": 2}


@dataclass
class Bound:
    """One map of a part: what it is applied to, and the map with the part's weight.

    Attributes:
        operand: as in `parts.Term`; or "x+-": x⁺ and x⁻ one behind the other, as channels or features.
        map: W̃ (and b̃ in a denominator's first map).
    """

    operand: str
    map: ConvMap | LinearMap


@dataclass
class BoundPart:
    """A part with its maps.

    Attributes:
        part: what it computes.
        terms: maps whose transposes hand relevance back, the part's scale among their weights.
        factors: of z and of the common d, whose sum is D.
        bias: b̃ (C_out,), or None.
    """

    part: Part
    terms: list[Bound]
    factors: tuple[float, float]
    bias: torch.Tensor | None = None


@dataclass
class Pass:
    """What one pass over z makes gates of.

    Attributes:
        d: maps whose sum is d; none: d is not needed.
        parts: one or two.
    """

    d: list[Bound]
    parts: list[BoundPart]


@dataclass
class MapStep(GatedStep):
    """A convolution or linear map under a rule, with the ReLU behind it if there is one.

    Attributes:
        map: W and b.
        passes: of the rule's parts.
        low, high: bounds of a box, where a part names them; shaped to broadcast against the input.
    """

    map: ConvMap | LinearMap | None = None
    passes: list[Pass] = field(default_factory=list)
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    @property
    def parts(self) -> list[BoundPart]:
        """Of all passes, in order."""
        return [part for one in self.passes for part in one.parts]

    @property
    def operands(self) -> set[str]:
        """What the parts' terms are handed to."""
        return {term.operand for part in self.parts for term in part.terms}

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        return MULTIPLIER if self.operands <= {"x", "x+", "x-", "x+-"} else RELEVANCE

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        z = self.map.forward(x)
        fresh = may_write()
        if self.name not in frame.keeps:
            return self._value(z, None, fresh)[0]
        v, gates = self._made(z, self._denominators(x), None, fresh)
        frame.saved[self.gates_key] = (gates, tuple(x.shape[2:]))
        if self.operands & {"x+", "x-", "x+-"}:
            frame.saved[self._key("sign")] = x > 0
        if self.native == RELEVANCE and self.operands & {"x", "x+", "x-", "x+-"}:
            frame.saved[self._key("x")] = x
        self._keep_operands(frame, self.native)
        return v

    def _denominators(self, x: torch.Tensor) -> list[Denominator]:
        found = []
        for one in self.passes:
            factors = [f for part in one.parts for f in part.factors]
            branches = [_BRANCHES[part.part.where] for part in one.parts]
            found.append(Denominator(self._sum(one.d, x), factors, branches, one.parts[0].part.epsilon))
        return found

    def _sum(self, maps: list[Bound], x: torch.Tensor) -> torch.Tensor | None:
        d = None
        for bound in maps:
            y = bound.map.forward(self._operand(bound.operand, x))
            d = y if d is None else d + y
        return d

    def _operand(self, operand: str, x: torch.Tensor) -> torch.Tensor:
        if operand == "x":
            return x
        if operand == "x+-":
            return torch.cat([x.clamp(min=0), x.clamp(max=0)], self._channels)
        if operand in ("x+", "x-"):
            return x.clamp(min=0) if operand == "x+" else x.clamp(max=0)
        if operand == "one":
            return torch.ones_like(x)
        return (self.low if operand == "low" else self.high).expand_as(x)

    @property
    def _channels(self) -> int:
        return 1 if isinstance(self.map, ConvMap) else -1

    def reverse(self, frame, g, skip=None, owned=False):
        gates, spatial = frame.saved[self.gates_key]
        sums: dict[str, torch.Tensor] = {}
        for i, (part, gate) in enumerate(zip(self.parts, gates, strict=True)):
            u, _ = applied(gate, g, skip, owned and i + 1 == len(gates))
            for bound in part.terms:
                t = bound.map.backward(u, spatial) if isinstance(bound.map, ConvMap) else bound.map.backward(u)
                pieces = [(bound.operand, t)]
                if bound.operand == "x+-":
                    pieces = list(zip(("x+", "x-"), t.chunk(2, self._channels), strict=True))
                for operand, piece in pieces:
                    sums[operand] = sums[operand] + piece if operand in sums else piece
        (name,) = self.inputs
        return [self._hand(frame, name, self._combined(frame, sums), self.native, True)]

    def _taken(self, frame, g, incoming, outgoing):
        x = frame.values[self.inputs[0]]
        z = self.map.forward(x)
        bias, absorbed = torch.zeros_like(incoming), torch.zeros_like(incoming)
        gates = iter(frame.saved[self.gates_key][0])
        for one in self.passes:
            d = self._sum(one.d, x)
            for part in one.parts:
                u = applied(next(gates), g, None, False)[0] * part.part.scale
                if part.bias is not None:
                    shape = (-1, *[1] * (u.dim() - 2)) if isinstance(self.map, ConvMap) else (-1,)
                    bias += row_sums(u * part.bias.view(shape))
                if part.part.epsilon is not None:
                    of_z, of_d = part.factors
                    whole = of_z * z if d is None else of_z * z + of_d * d
                    signed = torch.where(whole >= 0, part.part.epsilon, -part.part.epsilon).to(z.dtype)
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
