"""A problem of one multiplication, for tests of what runs problems."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reluxfast.benchmarks.case import Case
from reluxfast.benchmarks.problem import Prepared, Problem, Provider, Unavailable, Verdict, Work


class Doubling(Problem):
    """Doubles 100 numbers; providers are those given."""

    unit = "images"

    def __init__(self, providers: Mapping[str, Provider] | None = None, small: Problem | None = None, **axes):
        self.axes = {"batch": 100} | axes
        self.tiny = True
        self.x = torch.arange(1.0, 101.0)
        self._providers, self._small = providers, small
        self.judged: list[Tensor] = []

    @property
    def amount(self) -> int:
        return int(self.axes["batch"])

    def providers(self) -> Mapping[str, Provider]:
        return PROVIDERS if self._providers is None else self._providers

    def judge(self, values: Tensor, computes: str) -> Verdict:
        self.judged.append(values)
        error = float((values - 2 * self.x).abs().max())
        return Verdict(error, 1e-6, "largest difference", 1.0, None if error <= 1e-6 else f"{error:.1e} away")

    def small_copy(self) -> Problem | None:
        return self._small

    def work(self) -> Work:
        return Work(((100, 800),), "a product")


def times(factor: float, computes: str | None = "doubling", note: str = "") -> Provider:
    """A provider that multiplies."""
    return lambda problem: Prepared(lambda: factor * problem.x, computes, note)


def missing(problem: Problem) -> Prepared:
    raise Unavailable("peer is not installed")


PROVIDERS = {"reluxfast cpp": times(2), "peer": times(2), "liar": times(3), "absent": missing, "bare": times(2, None)}
CASE = Case("doubling/plain", "maps", "a product", {"batch": 100}, lambda axes, conditions: Doubling(**axes))
