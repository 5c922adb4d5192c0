"""Philox 4x32-10, random numbers by counting (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

Keyed by the seed; the counter is (row, unit, stream, block of four draws).
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four 32-bit words for each counter.

    Args:
        counter: four int64 tensors that broadcast, values in [0, 2³²).
        key: two numbers in [0, 2³²).

    Returns:
        four int64 tensors, values in [0, 2³²).
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        # Products wrap in int64, which leaves their 64 bits as they are.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((second >> 32) & _LOW) ^ c1 ^ k0,
            second & _LOW,
            ((first >> 32) & _LOW) ^ c3 ^ k1,
            first & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def draws(seed: int, stream: int, rows: Tensor, units: Tensor, count: int) -> Tensor:
    """Uniform 32-bit draws, int64 (R, U, count) in [0, 2³²), for each row and unit.

    Args:
        seed: any int; its lower 64 bits are the key.
        stream: what the draws are for, in [0, 2³²).
        rows: (R,) int64 numbers of rows in the whole call, in [0, 2³²).
        units: (U,) int64 numbers of pairs, in [0, 2³²).
        count: draws of each.
    """
    blocks = torch.arange(-(-count // 4), device=rows.device)
    key = int(seed) % (1 << 64)
    purpose = torch.tensor(stream, device=rows.device)
    words = philox((rows.view(-1, 1, 1), units.view(1, -1, 1), purpose, blocks.view(1, 1, -1)), (key & _LOW, key >> 32))
    return torch.stack(words, -1).flatten(2)[..., :count]
