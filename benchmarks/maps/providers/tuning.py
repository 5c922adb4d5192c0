"""Several ways to the same values: the fastest on this problem is the provider's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reluxfast.benchmarks.problem import Prepared


def fastest(ways: Mapping[str, Callable[[], Tensor]], computes: str, enough_s: float = 1.0) -> Prepared:
    """The way whose best call of two is the shortest; one call is enough where it takes longer than `enough_s`."""
    if len(ways) == 1:
        ((name, call),) = ways.items()
        return Prepared(call, computes, name)
    seconds = {}
    for name, call in ways.items():
        seconds[name] = _seconds(call)
        if seconds[name] < enough_s:
            seconds[name] = min(seconds[name], _seconds(call))
    name = min(seconds, key=seconds.__getitem__)
    return Prepared(ways[name], computes, name)


def _seconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    values = call()
    if values.is_cuda:
        torch.cuda.synchronize(values.device)
    return time.perf_counter() - start
