"""Signals of a relevance walk, and what every step of it can do.

A signal at a value v is a multiplier c, with relevance R = v ⊙ c, or the relevance R itself; the plan fixes which. With
multipliers most rules are the gradient walk with one gate per output, `v / s(D)`, made on the way forward; where a rule
hands relevance to values that are 0 there is no multiplier, and R is carried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from reluxfast.graph import Node
from reluxfast.relevance.steps import Signals, Step

MULTIPLIER, RELEVANCE = "multiplier", "relevance"


def row_sums(r: torch.Tensor) -> torch.Tensor:
    """(N,) sums of relevance (N, ...), in float64."""
    r = r.detach().double()
    return r.flatten(1).sum(1) if r.dim() > 1 else r


def _total_of(relevance: Any) -> torch.Tensor:
    return sum(map(row_sums, relevance)) if isinstance(relevance, list) else row_sums(relevance)


def per_signal(kept: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """`kept` (N, ...) shaped to be combined with g (times * N, ...), class-major."""
    times = g.shape[0] // max(kept.shape[0], 1)
    return kept if times == 1 else kept.repeat(times, *[1] * (kept.dim() - 1))


@dataclass(frozen=True)
class Account:
    """Relevance of each row, (times * N,) in float64.

    Attributes:
        ruled: the node whose rule was followed.
        relevance: at the value, in its shape; a list where the value is several.
        incoming: its sum.
        outgoing: operand -> what it was handed.
        bias, absorbed: what bias and stabiliser took.
    """

    ruled: Node
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
    ruled: the node whose rule is followed: in front of the clamp or batch norm that makes the value, if that is part
        of this step.
    """

    form: str = MULTIPLIER
    hands: dict[str, str] = field(default_factory=dict)
    ruled: Node | None = None

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        return self.form

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
        return Account(self.ruled, relevance, incoming, outgoing, bias, absorbed)

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
