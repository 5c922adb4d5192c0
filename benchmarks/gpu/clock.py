"""Times of device work: interleaved, each repeat over other buffers, so that no cache answers for memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch

Variants = Sequence[Callable[[], object]]

# Several times the L2 of any card: what one pass over all buffer sets of a call must exceed.
BEYOND_CACHE = 512 << 20


def interleaved_ms(
    calls: Mapping[str, Variants], device: torch.device, rounds: int = 7, passes: int = 3
) -> dict[str, list[float]]:
    """Milliseconds per call, one entry per round, in the order A B C A B C ...

    Args:
        calls: name -> the same work on different buffers; a round runs all of them `passes` times.
        device: where they run; on CUDA times are those of device events.
        rounds: measurements per name, after one round that warms up.
        passes: see `calls`.
    """
    if rounds < 1 or passes < 1:
        raise ValueError(f"rounds and passes: at least 1 expected, got {rounds} and {passes}")
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, variants in calls.items():
            span = _span_ms(variants, device, passes) / (passes * len(variants))
            if turn:
                found[name].append(span)
    return found


def _span_ms(variants: Variants, device: torch.device, passes: int) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(passes):
            for call in variants:
                call()
        return 1e3 * (time.perf_counter() - start)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        begin.record()
        for _ in range(passes):
            for call in variants:
                call()
        end.record()
        torch.cuda.synchronize()
    return begin.elapsed_time(end)


def sets_for(bytes_per_call: int) -> int:
    """How many buffer sets make one pass exceed every cache."""
    return max(2, -(-BEYOND_CACHE // max(bytes_per_call, 1)))
