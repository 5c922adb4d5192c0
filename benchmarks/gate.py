"""No number behind a red gate: a provider's values are compared with float64 before anybody looks at a clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from benchmarks import float64
from benchmarks.cases import Problem
from benchmarks.providers import Prepared


@dataclass(frozen=True)
class Standard:
    """What values are held against.

    Attributes:
        reference: (problem, what is computed) -> its float64 values.
        gates: what is computed -> largest relative L2 error that passes on a whole network.
        small_gates: the same on the small copy of a network.
    """

    reference: Callable[[Problem, str], Tensor]
    gates: Mapping[str, float]
    small_gates: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """One provider's fate: status "ok", "floor", "wrong" or "unavailable"; seconds holds one time per round."""

    provider: str
    status: str
    computes: str | None = None
    error: float | None = None
    cosine: float | None = None
    small_error: float | None = None
    gate: float | None = None
    setup_s: float | None = None
    reason: str | None = None
    seconds: tuple[float, ...] = ()


class Gate:
    """Compares providers on one problem; the float64 references are computed when first asked for."""

    def __init__(self, problem: Problem, standard: Standard):
        self.problem = problem
        self.standard = standard
        self._references: dict[str, Tensor] = {}

    def judge(self, outcome: Outcome, prepared: Prepared) -> Outcome:
        """Call the provider once and compare its values; a floor has no values, it only gets its warm-up call."""
        values = prepared.call()
        if prepared.computes is None:
            return replace(outcome, status="floor")
        outcome = replace(outcome, status="ok", computes=prepared.computes, gate=self.tolerance(prepared.computes))
        expected = self.reference(prepared.computes)
        if tuple(values.shape) != tuple(expected.shape):
            reason = f"shape {tuple(values.shape)} instead of {tuple(expected.shape)}"
            return replace(outcome, status="wrong", reason=reason)
        error = float64.relative_l2(values, expected)
        outcome = replace(outcome, error=error, cosine=float64.cosine(values, expected))
        if not error <= outcome.gate:
            where = "on the small copy of the network" if self.problem.tiny else "on this network"
            reason = f"relative error {error:.1e} above {outcome.gate:.0e} {where}"
            return replace(outcome, status="wrong", reason=reason)
        return outcome

    def tolerance(self, computes: str) -> float:
        """Largest relative error that passes."""
        return (self.standard.small_gates if self.problem.tiny else self.standard.gates)[computes]

    def reference(self, computes: str) -> Tensor:
        """The float64 values of a method."""
        if computes not in self._references:
            self._references[computes] = self.standard.reference(self.problem, computes)
        return self._references[computes]
