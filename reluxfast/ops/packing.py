"""Small integers packed into bytes: element i of width w occupies bits i*w .. i*w + w - 1, counted from the lowest bit.

Sizes are padded with zeros to a multiple of four bytes, so that 32-bit little-endian words hold the same bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def packed_bytes(count: int, width: int = 1) -> int:
    """Bytes that `count` fields of `width` bits occupy."""
    return (count * width + 31) // 32 * 4


def field_width(taps: int) -> int:
    """Bits that hold the offset of one of `taps` window taps: 2, 4 or 8."""
    torch._check(
        1 <= taps <= 256,
        lambda: f"kernel must have 1 to 256 taps (product of its sizes), got {taps}; pool in several steps instead",
    )
    return 2 if taps <= 4 else 4 if taps <= 16 else 8


def pack_fields(values: Tensor, width: int) -> Tensor:
    """Pack values (count,), each below 2**width, to uint8 (packed_bytes(count, width),); width is 1, 2, 4 or 8."""
    per_byte = 8 // width
    padded = values.new_zeros((packed_bytes(values.numel(), width) * per_byte,), dtype=torch.int32)
    padded[: values.numel()] = values
    shifts = torch.arange(per_byte, device=values.device, dtype=torch.int32) * width
    return (padded.view(-1, per_byte) << shifts).sum(1, dtype=torch.int32).to(torch.uint8)


def unpack_fields(packed: Tensor, width: int, count: int) -> Tensor:
    """The first `count` fields of packed (bytes,) as int32 (count,)."""
    per_byte = 8 // width
    shifts = torch.arange(per_byte, device=packed.device, dtype=torch.int32) * width
    fields = (packed.to(torch.int32).view(-1, 1) >> shifts) & (2**width - 1)
    return fields.reshape(-1)[:count]


def pack_bits(bits: Tensor) -> Tensor:
    """Pack bool (count,) to uint8 (packed_bytes(count),)."""
    return pack_fields(bits, 1)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """The first `count` bits of packed (bytes,) as bool (count,)."""
    return unpack_fields(packed, 1, count).bool()
