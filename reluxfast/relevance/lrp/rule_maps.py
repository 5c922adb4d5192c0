"""A rule's parts -> the maps that a step runs: few passes, and no sum made twice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reluxfast.graph import Node
from reluxfast.relevance.lrp.map_step import Bound, BoundPart, Gating
from reluxfast.relevance.lrp.parts import PLAIN, Part, Term, Weight
from reluxfast.relevance.maps import ConvMap, LinearMap

Map = ConvMap | LinearMap
_SIGNED, _CONSTANTS = ("x+", "x-"), ("one", "low", "high")


class RuleMaps:
    """The maps of one convolution or linear node, each made once.

    Args:
        weight, bias: of the node, a batch norm folded in.
        source: the node.
        make: (weight, bias) -> map.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        source: Node,
        make: Callable[[torch.Tensor, torch.Tensor | None], Map],
    ):
        self.weight, self.bias, self.make = weight, bias, make
        plain = source.kind == "linear" or (source.attrs["groups"] == 1 and not source.attrs["transposed"])
        self._joins = 1 if plain else None  # the weight's dimension of inputs, where x⁺ and x⁻ may be one input
        self._made: dict[tuple, Map] = {}

    @property
    def plain(self) -> Map:
        """W and b."""
        return self._built((PLAIN,), PLAIN)

    def passes(self, parts: tuple[Part, ...], rectified: bool = False) -> tuple[list[Bound], list[Gating]]:
        """What to run for a rule's parts: the summand of z where y = z + d (see `MapStep`), and the passes.

        Args:
            parts: of the rule.
            rectified: whether relevance comes only where z > 0.
        """
        if rectified:
            parts = tuple(part for part in parts if part.where != "z < 0")
        total = self._total(*parts) if len(parts) == 2 else None
        if total is None:
            return [], [self._alone(part) for part in parts]
        first, second = parts
        if total != 1:
            # D' has the sign of its branch, z < 0, as z has: their difference from D cancels nothing.
            d = self._bound(first.denominator, first.bias)
            return [], [Gating(d, [self._part(first, (0.0, 1.0)), self._part(second, (total, -1.0))])]
        d = self._bound(second.denominator, second.bias)
        if rectified:
            # D = z - D' for z > 0 > D' cancels nothing; D' = z - D would lose the digits of a small D'.
            return [], [Gating(d, [self._part(first, (1.0, -1.0)), self._part(second, (0.0, 1.0))])]
        return self._bound(first.denominator, first.bias), [
            Gating(d, [self._part(first, (1.0, 0.0)), self._part(second, (0.0, 1.0))])
        ]

    def _alone(self, part: Part) -> Gating:
        if self._of_z(part):
            return Gating([], [self._part(part, (1.0, 0.0))])
        first, *others = part.denominator
        if first == Term("x", PLAIN) and others and all(t.operand in _CONSTANTS for t in others):
            return Gating(self._bound(tuple(others), -1.0 * PLAIN), [self._part(part, (1.0, 1.0))], constant=True)
        constant = all(t.operand in _CONSTANTS for t in part.denominator)
        return Gating(self._bound(part.denominator, part.bias), [self._part(part, (0.0, 1.0))], constant)

    def _part(self, part: Part, factors: tuple[float, float]) -> BoundPart:
        bias = None if self.bias is None or part.bias is None else part.bias.of(self.bias)
        return BoundPart(part, self._bound(part.terms, None, part.scale), factors, bias)

    def _of_z(self, part: Part) -> bool:
        """Whether D is z = Wx + b itself."""
        return part.denominator == (Term("x", PLAIN),) and (self.bias is None or part.bias == PLAIN)

    def _total(self, first: Part, second: Part) -> float | None:
        """f with D + D' = f z, if there is one."""
        if [t.operand for t in first.denominator] != [t.operand for t in second.denominator]:
            return None
        sums = {a.weight + b.weight for a, b in zip(first.denominator, second.denominator, strict=True)}
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
