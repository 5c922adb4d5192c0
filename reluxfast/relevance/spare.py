"""Memory that walks hand on to each other: on a CPU, fresh pages cost more than what is written into them."""

from __future__ import annotations

import functools
import threading

import torch

# Just below the largest block that glibc may take from its heap: mapped, and so never touched, until it is freed once.
_HEAP_BLOCK = (32 << 20) - (8 << 10)


@functools.cache
def keep_freed_pages() -> None:
    """Has glibc keep up to twice 32 MiB of freed memory instead of giving it back and faulting it in at every walk.

    Its thresholds follow the largest mapped block that was ever freed; other allocators see one allocation. See
    "Dynamic mmap threshold" at M_MMAP_THRESHOLD in mallopt(3).
    """
    torch.empty(_HEAP_BLOCK, dtype=torch.uint8)


class Spare:
    """Tensors that a finished walk no longer needs, by shape, order and dtype. Safe to use from several threads.

    Args:
        limit: bytes held at most; 0: none are.
    """

    def __init__(self, limit: int):
        self._limit, self._held = limit, 0
        self._free: dict[tuple, list[torch.Tensor]] = {}
        self._lock = threading.Lock()

    def take(self, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised tensor in the shape and dense order of `like`."""
        with self._lock:
            free = self._free.get((like.shape, like.stride(), dtype))
            if free:
                found = free.pop()
                self._held -= found.nbytes
                return found
        return torch.empty_like(like, dtype=dtype)

    def give(self, tensor: torch.Tensor) -> None:
        """Takes back a tensor that nobody reads any more."""
        with self._lock:
            if self._held + tensor.nbytes <= self._limit:
                self._free.setdefault((tensor.shape, tensor.stride(), tensor.dtype), []).append(tensor)
                self._held += tensor.nbytes
