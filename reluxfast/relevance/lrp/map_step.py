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


def _added(made: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
    """The sum of what two maps made, in the memory of the first."""
    return made.add_(more) if may_write() else made + more


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
class Gating:
    """What one pass over z makes gates of.

    Attributes:
        d: maps whose sum is d; none: d is not needed.
        parts: one or two.
        constant: whether d depends on no input, so that it is made once.
    """

    d: list[Bound]
    parts: list[BoundPart]
    constant: bool = False


@dataclass
class MapStep(GatedStep):
    """A convolution or linear map under a rule, with the ReLU behind it if there is one.

    Attributes:
        map: W and b.
        summand: maps whose sum is z of the first pass, where y is z + d; none: z is y, made by `map`.
        passes: of the rule's parts.
        low, high: bounds of a box, where a part names them; shaped to broadcast against the input.
    """

    map: ConvMap | LinearMap | None = None
    summand: list[Bound] = field(default_factory=list)
    passes: list[Gating] = field(default_factory=list)
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None
    _constants: dict[tuple, torch.Tensor] = field(default_factory=dict)

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
        if self.name not in frame.keeps:
            return self._value(self.map.forward(x), None, may_write())[0]
        z, denominators = self._denominators(x)
        v, gates = self._made(frame, z, denominators, denominators[0].d if self.summand else None, may_write())
        frame.saved[self.gates_key] = (gates, tuple(x.shape[2:]))
        if self.operands & {"x+", "x-", "x+-"}:
            frame.saved[self._key("sign")] = x > 0
        if self.native == RELEVANCE and self.operands & {"x", "x+", "x-", "x+-"}:
            frame.saved[self._key("x")] = x
        self._keep_operands(frame, self.native)
        return v

    def _denominators(self, x: torch.Tensor) -> tuple[torch.Tensor, list[Denominator]]:
        """z, and what is divided by, pass by pass."""
        z = self._sum(self.summand, x) if self.summand else self.map.forward(x)
        found = []
        for one in self.passes:
            factors = [f for part in one.parts for f in part.factors]
            branches = [_BRANCHES[part.part.where] for part in one.parts]
            d = self._constant(one, x) if one.constant else self._sum(one.d, x)
            found.append(Denominator(d, factors, branches, one.parts[0].part.epsilon))
        return z, found

    def _constant(self, one: Gating, x: torch.Tensor) -> torch.Tensor:
        key = (tuple(x.shape[1:]), x.device)
        if key not in self._constants:
            self._constants[key] = self._sum(one.d, x[:1])
        return self._constants[key].expand(x.shape[0], *self._constants[key].shape[1:])

    def _sum(self, maps: list[Bound], x: torch.Tensor) -> torch.Tensor | None:
        d = None
        for bound in maps:
            y = bound.map.forward(self._operand(bound.operand, x))
            d = y if d is None else _added(d, y)
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
                    sums[operand] = _added(sums[operand], piece) if operand in sums else piece
        (name,) = self.inputs
        return [self._hand(frame, name, self._combined(frame, sums), self.native, True)]

    def _taken(self, frame, g, incoming, outgoing):
        x, relevance = frame.values[self.inputs[0]], self._relevance(frame, self.name, g, self.form)
        bias, absorbed = torch.zeros_like(incoming), torch.zeros_like(incoming)
        if self.gated:
            shut = per_signal(frame.values[self.name], g) == 0
            bias, relevance = bias + row_sums(relevance * shut), relevance.masked_fill(shut, 0)
        gates = iter(frame.saved[self.gates_key][0])
        z, denominators = self._denominators(x)
        y = z + denominators[0].d if self.summand else z
        covered = torch.zeros_like(y, dtype=torch.bool)
        for one, found in zip(self.passes, denominators, strict=True):
            for part in one.parts:
                u = applied(next(gates), g, None, False)[0]
                if part.bias is not None:
                    shape = (-1, *[1] * (u.dim() - 2)) if isinstance(self.map, ConvMap) else (-1,)
                    bias += part.part.scale * row_sums(u * part.bias.view(shape))
                epsilon = part.part.epsilon or 0.0
                whole = part.factors[0] * z if found.d is None else part.factors[0] * z + part.factors[1] * found.d
                signed = epsilon * torch.where(whole >= 0, 1.0, -1.0).to(z.dtype)
                here = {"all": torch.ones_like(covered), "z > 0": y > 0, "z < 0": y < 0}[part.part.where]
                covered |= here
                # Nothing is handed on where the denominator is empty.
                empty = here & (whole + signed == 0)
                lost = u * per_signal(signed, u) + relevance * per_signal(empty, u)
                absorbed += part.part.scale * row_sums(lost)
        return bias, absorbed + row_sums(relevance * per_signal(~covered, g))

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
