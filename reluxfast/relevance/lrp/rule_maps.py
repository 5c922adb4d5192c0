"""A rule's parts -> the maps that a step runs: few passes, and no sum made twice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reluxfast.graph import Node
from reluxfast.relevance.lrp.map_step import Bound, BoundPart, Pass
from reluxfast.relevance.lrp.parts import PLAIN, Part, Term, Weight
from reluxfast.relevance.maps import ConvMap, LinearMap

Map = ConvMap | LinearMap
_SIGNED = ("x+", "x-")


class RuleMaps:
    """The maps of one convolution or linear node, each made once.

    Args:
        weight, bias: of the node, a batch norm folded in.
        source: the node.
        make: (weight, bias) -> map.
        differences: whether a denominator may be the difference of two sums; it loses digits, which only float32 does
            not miss, where passes count.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        source: Node,
        make: Callable[[torch.Tensor, torch.Tensor | None], Map],
        differences: bool,
    ):
        self.weight, self.bias, self.make, self.differences = weight, bias, make, differences
        plain = source.kind == "linear" or (source.attrs["groups"] == 1 and not source.attrs["transposed"])
        self._joins = 1 if plain else None  # the weight's dimension of inputs, where x⁺ and x⁻ may be one input
        self._made: dict[tuple, Map] = {}

    @property
    def plain(self) -> Map:
        """W and b."""
        return self._built((PLAIN,), PLAIN)

    def passes(self, parts: tuple[Part, ...]) -> list[Pass]:
        """What to run for a rule's parts: two of them in one pass where the second's D follows from the first's."""
        found: list[Pass] = []
        for part in parts:
            terms = self._bound(part.terms, None, part.scale)
            bias = None if self.bias is None or part.bias is None else part.bias.of(self.bias)
            if self._of_z(part):
                found.append(Pass([], [BoundPart(part, terms, (1.0, 0.0), bias)]))
                continue
            total = self._total(parts[0], part) if len(found) == 1 and found[0].d else None
            if total is not None:
                found[0].parts.append(BoundPart(part, terms, (total, -1.0), bias))
            else:
                d = self._bound(part.denominator, part.bias)
                found.append(Pass(d, [BoundPart(part, terms, (0.0, 1.0), bias)]))
        return found

    def _of_z(self, part: Part) -> bool:
        """Whether D is z = Wx + b itself."""
        return part.denominator == (Term("x", PLAIN),) and (self.bias is None or part.bias == PLAIN)

    def _total(self, first: Part, second: Part) -> float | None:
        """f with D' = f z - D, if there is one."""
        if not self.differences or len(first.denominator) != len(second.denominator):
            return None
        sums = {a.weight + b.weight for a, b in zip(first.denominator, second.denominator, strict=True)}
        if [t.operand for t in first.denominator] != [t.operand for t in second.denominator] or len(sums) != 1:
            return None
        if self.bias is not None:
            if first.bias is None or second.bias is None:
                return None
            sums.add(first.bias + second.bias)
        factors = {_multiple(weight) for weight in sums}
        return factors.pop() if len(factors) == 1 else None

    def _bound(self, terms: tuple[Term, ...], bias: Weight | None, scale: float = 1.0) -> list[Bound]:
        if self._joins is not None and tuple(t.operand for t in terms) == _SIGNED:
            return [Bound("x+-", self._built(tuple(scale * t.weight for t in terms), bias))]
        return [
            Bound(t.operand, self._built((scale * t.weight,), bias if i == 0 else None)) for i, t in enumerate(terms)
        ]

    def _built(self, weights: tuple[Weight, ...], bias: Weight | None) -> Map:
        if (weights, bias) not in self._made:
            made = [w.of(self.weight) for w in weights]
            weight = made[0] if len(made) == 1 else torch.cat(made, self._joins)
            self._made[weights, bias] = self.make(
                weight, None if bias is None or self.bias is None else bias.of(self.bias)
            )
        return self._made[weights, bias]


def _multiple(weight: Weight) -> float | None:
    """s where the combination is s W."""
    up, down = weight.plain + weight.positive, weight.plain + weight.negative
    return up if up == down and not (weight.square or weight.ones or weight.sign) else None
