"""What an LRP rule asks of a convolution or linear map: passes over its weight, signals and gates."""

from __future__ import annotations

from dataclasses import dataclass

from reluxfast import rules


@dataclass(frozen=True)
class Cost:
    """What a rule asks of a map.

    Attributes:
        forward, reverse: passes over the map's weight.
        signals: how many signals at the map's output go back through it.
        writes, reads: size of the gate of a ReLU behind the map, in numbers (in bits where `bits`) per element.
    """

    forward: int = 1
    reverse: int = 1
    signals: int = 1
    writes: int = 1
    reads: int = 1
    bits: bool = False


def cost_of(rule: rules.Rule, positive: bool, rectified: bool) -> Cost:
    """What a rule asks of a map.

    Args:
        rule: one that the composites of `LRP_COMPOSITES` give to maps.
        positive: whether no input is negative; else both signs are inputs of their own.
        rectified: whether relevance comes only where the map is positive.
    """
    halves = 1 if positive else 2
    if isinstance(rule, rules.Epsilon):
        return Cost(writes=0)  # the value itself tells its gate
    if isinstance(rule, rules.ZBox):
        return Cost(reverse=3)  # W, W⁺ and W⁻; sums over the bounds are made once
    if isinstance(rule, rules.AlphaBeta):
        return Cost(1 + halves, 2 * halves, signals=2, writes=2, reads=2)
    signals = 2 if isinstance(rule, rules.Gamma) and not rectified else 1
    return Cost(1 + halves, signals * halves, signals)
