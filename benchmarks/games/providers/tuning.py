"""The fastest of some sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch


def fastest(call: Callable[[int], object], sizes: Iterable[int], device: torch.device, enough_s: float = 1.0) -> int:
    """The size whose best call of three is the shortest; fewer calls where one takes longer than `enough_s`."""
    sizes = tuple(sizes)
    if len(sizes) == 1:
        return sizes[0]
    return min(sizes, key=lambda size: _seconds(call, size, device, enough_s))


def _seconds(call: Callable[[int], object], size: int, device: torch.device, enough_s: float) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call(size)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        if best > enough_s:
            break
    return best
