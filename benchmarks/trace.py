"""Memory and operations of one call, as torch's allocator and its profiler see them.

What numpy or a library allocates by itself is not seen; operands that oneDNN rearranges are.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import profile

from reluxfast.benchmarks import memory

# Operations that allocate, look at what is there in another way, or hand it on unchanged.
_NO_WORK = frozenset(
    f"aten::{name}"
    for name in (
        "empty empty_like empty_strided empty_permuted new_empty new_empty_strided resize_ resize_as_ set_ "
        "alias detach detach_ lift_fresh as_strided as_strided_ view view_as _unsafe_view _reshape_alias "
        "reshape flatten unflatten expand expand_as permute transpose transpose_ t swapaxes movedim moveaxis "
        "squeeze unsqueeze select slice narrow unfold unbind split split_with_sizes chunk diagonal contiguous "
        "to type_as dropout resolve_conj resolve_neg item _local_scalar_dense is_same_size result_type "
        "_nnpack_available"
    ).split()
)


@dataclass(frozen=True)
class Trace:
    """One call.

    Attributes:
        peak_bytes: the most that was in use of what the call allocated, its result included.
        ops: on a CPU operators that compute (allocations and views aside, and none that calls others), on a GPU
            kernels; None where nobody reports them: for compiled graphs on a CPU.
    """

    peak_bytes: int
    ops: int | None


def traced(call: Callable[[], Tensor | None], device: torch.device) -> tuple[Tensor | None, Trace]:
    """Result of a call, and its trace. The call is slower than usual: it is not the one to be timed."""
    return (_on_gpu if device.type == "cuda" else _on_cpu)(call, device)


def allocated_bytes(device: torch.device) -> int | None:
    """What is allocated on the device now, garbage aside; None where the C library cannot say."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else memory.allocated_bytes()


def difference(after: int | None, before: int | None) -> int | None:
    """None where either is not known."""
    return None if after is None or before is None else after - before


def _on_cpu(call: Callable[[], Tensor | None], _device: torch.device) -> tuple[Tensor | None, Trace]:
    with _silent(), profile(use_cpu=True, profile_memory=True) as profiler:
        result = call()
    roots = profiler.kineto_results.experimental_event_tree()
    return result, Trace(_peak(roots), _operators(roots))


def _on_gpu(call: Callable[[], Tensor | None], device: torch.device) -> tuple[Tensor | None, Trace]:
    gc.collect()
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with _silent(), profile(use_device="cuda", use_kineto=True) as profiler:
        result = call()
        torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    return result, Trace(peak, _kernels(profiler.kineto_results.events()) or None)


def _peak(roots: Sequence[Any]) -> int:
    """Of the running sum over blocks that were allocated in the call.

    The profiler's own sum will not do: for a block that is older it may report the size of another one, long gone, that
    had the same address.
    """
    changes = [e for e, _ in _below(roots) if e.name == "[memory]" and e.typed[1].device.type == "cpu"]
    changes.sort(key=lambda e: e.start_time_ns)
    held, peak = 0, 0
    sizes: dict[int, int] = {}
    for change in changes:
        address, size = change.typed[1].ptr, change.typed[1].alloc_size
        held -= sizes.pop(address, 0)
        if size > 0:
            sizes[address] = size
            held += size
            peak = max(peak, held)
    return peak


def _operators(roots: Sequence[Any]) -> int | None:
    """Operators that compute and call no other one that does."""
    found, callers = 0, set()
    for event, caller in _below(roots):
        if "Call CompiledFxGraph" in event.name:
            return None
        if _computes(event.name):
            found += 1
            callers.add(caller)
    return found - len(callers - {None})


def _computes(name: str) -> bool:
    return "::" in name and not name.startswith(("autograd::", "torch::")) and name not in _NO_WORK


def _below(roots: Sequence[Any]) -> Iterator[tuple[Any, int | None]]:
    """Every event, and the number of the nearest operator around it that computes."""
    todo: list[tuple[Any, int | None]] = [(event, None) for event in roots]
    numbers = count()
    while todo:
        event, caller = todo.pop()
        yield event, caller
        inside = next(numbers) if _computes(event.name) else caller
        todo += ((child, inside) for child in event.children)


def _kernels(events: Sequence[Any]) -> int:
    """What ran on the GPU, copies and settings of memory aside."""
    there = (e for e in events if e.device_type() == torch.autograd.DeviceType.CUDA and not e.is_user_annotation())
    return sum(1 for event in there if not event.name().startswith(("Memcpy", "Memset", "[memory]")))


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps what the profiler's C++ code says from standard error."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
