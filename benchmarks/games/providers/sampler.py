"""What providers of sampled values have in common."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# (orders, seed) -> values (N, K, d).
Sampler = Callable[[int, int], Tensor]
