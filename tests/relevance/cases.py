"""Constructs captured once per process and shared by the tests that follow each other."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import reluxfast as rx
from tests.device import FAST_BACKENDS as BACKENDS
from tests.oracles.inputs import inputs
from tests.zoo import CONSTRUCTS, Construct

__all__ = ["BACKENDS", "Case", "as_tuple", "case"]


@dataclass(frozen=True)
class Case:
    """A construct, its model, inputs with a margin, and the explainer."""

    construct: Construct
    model: nn.Module
    inputs: tuple[Tensor, ...]
    explainer: rx.Explainer

    @property
    def x(self) -> Tensor | tuple[Tensor, ...]:
        """As a user passes them: a tuple only where there are several."""
        return self.inputs if len(self.inputs) > 1 else self.inputs[0]

    def attribute(self, method: str, backend: str = "reference", **options) -> rx.Attribution:
        """Explains the construct's target on a backend."""
        with rx.backend(backend):
            return self.explainer.attribute(self.x, target=self.construct.target, method=method, **options)


@functools.lru_cache(maxsize=8)
def case(name: str, dtype: torch.dtype = torch.float64, rows: int = 2) -> Case:
    """The construct `name` in a precision."""
    construct = CONSTRUCTS[name]
    x, model = inputs(construct, dtype, rows), construct.model(dtype)
    return Case(construct, model, x, rx.Explainer(model, x if len(x) > 1 else x[0]))


def as_tuple(values: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Attribution values as a tuple, one per input."""
    return values if isinstance(values, tuple) else (values,)
