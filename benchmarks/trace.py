"""Memory and operations of one call, as torch's allocator and its profiler see them.

What numpy or a library allocates by itself is not seen; operands that oneDNN rearranges are.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
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
    """Result of a call, and its trace. It is not the call to be timed.

    On a CPU that takes about 0.1 ms and 10 KB for each operator besides.
    """
    return (_on_gpu if device.type == "cuda" else _on_cpu)(call, device)


def allocated_bytes(device: torch.device) -> int | None:
    """What is allocated on the device now, garbage aside; None where the C library cannot say."""
    gc.collect()
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else memory.allocated_bytes()


def difference(after: int | None, before: int | None) -> int | None:
    """None where either is not known."""
    return None if after is None or before is None else after - before


def _on_cpu(call: Callable[[], Tensor | None], _device: torch.device) -> tuple[Tensor | None, Trace]:
    with _silent(), profile(use_cpu=True, profile_memory=True) as profiler:
        result = call()
    return result, _read(profiler.kineto_results.experimental_event_tree())


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


def _read(roots: Sequence[Any]) -> Trace:
    """Walks once through the tree of events, which may be millions."""
    changes: list[tuple[int, int, int]] = []
    operators, callers, compiled = 0, set(), False
    todo: list[tuple[Any, int]] = [(event, -1) for event in reversed(roots)]
    while todo:
        event, caller = todo.pop()
        name = event.name
        if name == "[memory]":
            block = event.typed[1]
            if block.device.type == "cpu":
                changes.append((event.start_time_ns, block.ptr, block.alloc_size))
            continue
        compiled = compiled or "Call CompiledFxGraph" in name
        if _computes(name):
            callers.add(caller)
            caller = operators  # what runs inside is called by this one
            operators += 1
        todo += [(child, caller) for child in reversed(event.children)]
    return Trace(_peak(changes), None if compiled else operators - len(callers - {-1}))


def _peak(changes: list[tuple[int, int, int]]) -> int:
    """Of the running sum over blocks that were allocated in the call; changes are (time, address, size).

    The profiler's own sum will not do: for a block that is older it may report the size of another one, long gone, that
    had the same address.
    """
    held = peak = 0
    sizes: dict[int, int] = {}
    for _, address, size in sorted(changes, key=itemgetter(0)):
        held -= sizes.pop(address, 0)
        if size > 0:
            sizes[address] = size
            held += size
            peak = max(peak, held)
    return peak


@cache
def _computes(name: str) -> bool:
    return "::" in name and not name.startswith(("autograd::", "torch::")) and name not in _NO_WORK


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
