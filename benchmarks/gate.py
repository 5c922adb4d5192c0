"""No number behind a red gate: a provider's values are compared with float64 before anybody looks at a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from benchmarks import float64
from benchmarks.cases import Problem
from benchmarks.providers import Prepared

# Relative L2 distance from float64. On the small copy of a network everybody who computes the right thing is within
# rounding (at most 9e-7 seen). On the whole network a few of its millions of units lie within rounding of zero and fall
# on the other side, and all that passes there changes: plain float32 autograd is itself up to 2.4e-2 away on ResNet-50
# (gradient), Captum 6.2e-4 on VGG-16 (guided). A wrong method is 0.9 or more away on both.
SMALL_GATE = 1e-5
GATES = {"gradient": 1e-1, "guided_backprop": 2e-3}


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

    def __init__(self, problem: Problem):
        self.problem = problem
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
        return SMALL_GATE if self.problem.tiny else GATES[computes]

    def reference(self, computes: str) -> Tensor:
        """The float64 values of a method."""
        if computes not in self._references:
            p = self.problem
            self._references[computes] = float64.reference(p.model, p.x, p.target, computes)
        return self._references[computes]
