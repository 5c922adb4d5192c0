"""Memory that walks hand on to each other: on a CPU, fresh pages cost more than what is written into them."""

from __future__ import annotations

import threading

import torch


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
