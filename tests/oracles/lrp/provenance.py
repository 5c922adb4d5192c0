"""Which computed number each element of a tensor is, through every view, copy and write in place.

Every number that an operation computes is a *cell* with an id from 1 on; 0 is a constant. For each storage that holds
activations a shadow of the same layout holds the ids, so that a view of a tensor has its ids by the same strides, and
an operation that only copies elements copies ids when it is run on shadows.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Provenance:
    """Shadows of storages; ids are exact in float64 up to 2^53, which lets every copying operation run on them."""

    def __init__(self) -> None:
        self.count = 0
        self._shadows: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []  # an address must not be used again by another tensor

    def shadow(self, t: Tensor) -> Tensor:
        """Ids of `t`'s elements as a writable view, float64."""
        key = t.untyped_storage().data_ptr()
        if key not in self._shadows:
            size = t.untyped_storage().nbytes() // t.element_size()
            self._shadows[key] = torch.zeros(size, dtype=torch.float64)
            self._alive.append(t)
        return self._shadows[key].as_strided(t.shape, t.stride(), t.storage_offset())

    def known(self, t: Tensor) -> bool:
        """Whether the storage of `t` has a shadow."""
        return t.numel() > 0 and t.untyped_storage().data_ptr() in self._shadows

    def is_data(self, t: object) -> bool:
        """Whether `t` is a tensor with at least one activation in it."""
        return isinstance(t, Tensor) and self.known(t) and bool(self.shadow(t).any())

    def cells(self, t: Tensor) -> Tensor:
        """Ids of `t`'s elements, int64."""
        return self.shadow(t).long() if self.known(t) else torch.zeros(t.shape, dtype=torch.int64)

    def create(self, t: Tensor) -> Tensor:
        """Makes every element of `t` a new cell."""
        ids = torch.arange(self.count + 1, self.count + 1 + t.numel()).reshape(t.shape)
        self.count += t.numel()
        self.shadow(t).copy_(ids)
        return ids
