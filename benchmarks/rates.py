"""The machine's own ceilings, measured in the run they stand beside: a large matrix product and a large copy.

A ceiling is what the fastest repetition of the process so far reached: neighbours on the machine can only slow it
down. Work in place or in the cache can move its bytes faster than a copy does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

# Sides of square matrices, and bytes of the tensor that is copied.
SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
COPY_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}
TINY_SIDES, TINY_COPY_BYTES = (128,), 1 << 20
REPEATS = 3
# A matrix product that would take longer than this in all is not tried: the size before it has to do.
SECONDS = 0.5


@dataclass(frozen=True)
class Rates:
    """Ceilings of one device in one dtype.

    Attributes:
        gemm_flop_per_s: of the fastest square matrix product, two FLOP for each multiply-add.
        copy_bytes_per_s: bytes read plus bytes written by a copy of a tensor that no cache holds.
    """

    gemm_flop_per_s: float
    copy_bytes_per_s: float

    def or_more(self, other: Rates) -> Rates:
        """The higher of both, each."""
        return Rates(
            max(self.gemm_flop_per_s, other.gemm_flop_per_s), max(self.copy_bytes_per_s, other.copy_bytes_per_s)
        )

    def plain(self) -> dict[str, float]:
        """As a stored row has it."""
        return asdict(self)


# Highest rates so far and when they were last measured, under all that a rate depends on within a process.
_seen: dict[tuple, tuple[Rates, float]] = {}
# A machine does not become another one within a minute.
_LASTS_S = 60.0


def measure(device: torch.device, dtype: torch.dtype, tiny: bool = False) -> Rates:
    """Both rates, the highest seen so far with the threads and the precision that this process computes with.

    They are measured again where that is a minute ago.

    Args:
        device: a CPU or a CUDA device.
        dtype: of what is multiplied and copied.
        tiny: small sizes for a smoke test, whose rates say nothing about the machine.
    """
    sides = TINY_SIDES if tiny else SIDES[device.type]
    size = TINY_COPY_BYTES if tiny else COPY_BYTES[device.type]
    with torch.no_grad(), _precision_of_convolutions(device):
        key = (device, dtype, torch.get_num_threads(), torch.backends.cuda.matmul.fp32_precision, tiny)
        before, at = _seen.get(key, (Rates(0.0, 0.0), -math.inf))
        if time.monotonic() - at < _LASTS_S:
            return before
        found = before.or_more(Rates(_gemm(device, dtype, sides), _copy(device, dtype, size)))
    _seen[key] = found, time.monotonic()
    return found


def _gemm(device: torch.device, dtype: torch.dtype, sides: Sequence[int]) -> float:
    best, generator = 0.0, torch.Generator(device)  # draws of others stay what they are
    for side in sides:
        flop = 2 * side**3
        if best and REPEATS * flop / best > SECONDS:
            break
        a, b = torch.randn(2, side, side, device=device, generator=generator).to(dtype)
        out = torch.empty_like(a)
        best = max(best, flop / _least_seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device))
    return best


def _copy(device: torch.device, dtype: torch.dtype, size: int) -> float:
    source = torch.ones(size // dtype.itemsize, device=device, dtype=dtype)
    destination = torch.empty_like(source)
    return 2 * size / _least_seconds(lambda: destination.copy_(source), device)


def _least_seconds(call: Callable[[], object], device: torch.device) -> float:
    """After one call that touches the memory and wakes the libraries."""
    call()
    return min(_seconds(call, device) for _ in range(REPEATS))


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        return _seconds_on_gpu(call, device)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _seconds_on_gpu(call: Callable[[], object], device: torch.device) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream = torch.cuda.current_stream(device)
    start.record(stream)
    call()
    end.record(stream)
    end.synchronize()
    return 1e-3 * start.elapsed_time(end)


@contextmanager
def _precision_of_convolutions(device: torch.device) -> Iterator[None]:
    """On a GPU, products at the precision that convolutions have, which by default is TF32 where products are not.

    The faster of both is the ceiling.
    """
    if device.type != "cuda" or torch.backends.cudnn.conv.fp32_precision != "tf32":
        yield
        return
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
