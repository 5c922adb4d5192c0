"""The engine without what makes it fast: its algebra as plain torch calls in the default layout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from reluxfast.benchmarks.maps.problem import MapProblem
from reluxfast.benchmarks.maps.providers import engine
from reluxfast.benchmarks.problem import Prepared
from reluxfast.relevance import maps


def prepare(problem: MapProblem) -> Prepared:
    """The `reference` backend (no kernels of our own, no packed weights) on activations (N, C, H, W) as they stand."""
    with default_layout():
        prepared = engine.prepare(problem, backend="reference")

    def call() -> Tensor | None:
        with default_layout():
            return prepared.call()

    return Prepared(call, prepared.computes, "plain torch calls, default layout")


@contextmanager
def default_layout() -> Iterator[None]:
    """Inside it the engine lays nothing out channels-last; what was captured inside has to be called inside."""
    original = maps.channels_last
    users = [m for name, m in list(sys.modules.items()) if name.startswith("reluxfast.relevance")]
    users = [m for m in users if getattr(m, "channels_last", None) is original]
    for module in users:
        module.channels_last = Tensor.contiguous
    try:
        yield
    finally:
        for module in users:
            module.channels_last = original
