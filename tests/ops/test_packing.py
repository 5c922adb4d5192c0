"""Packed bits and fields, and the dense orders that say which element is which bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reluxfast.ops import layout, packing
from tests.ops import statement


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@given(data=st.data())
def test_fields_come_back(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=70))
    packed = packing.pack_fields(torch.tensor(values, dtype=torch.int64), width)
    assert packed.tolist() == statement.packed(np.array(values, dtype=np.int64), width).tolist()
    assert packed.numel() == packing.packed_bytes(len(values), width)
    assert packing.unpack_fields(packed, width, len(values)).tolist() == values


def test_bit_i_is_bit_i_and_7_of_byte_i_shifted_by_3():
    for i in range(40):
        bits = torch.zeros(40, dtype=torch.bool)
        bits[i] = True
        packed = packing.pack_bits(bits)
        assert packed.numel() == 8 and packed[i >> 3] == 1 << (i & 7) and packed.sum() == 1 << (i & 7)
        assert packing.unpack_bits(packed, 40).equal(bits)


@pytest.mark.parametrize(("taps", "width"), [(1, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)])
def test_field_width(taps, width):
    assert packing.field_width(taps) == width


def test_more_taps_than_a_byte_can_name():
    with pytest.raises(RuntimeError, match="1 to 256 taps"):
        packing.field_width(257)


def test_sizes_beyond_32_bits():
    assert packing.packed_bytes(2**33 + 1) == 2**30 + 4
    assert packing.packed_bytes(2**33 + 1, 8) == 2**33 + 4


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)], ids=str)
def test_channels_last_strides(shape):
    x = layout.empty_in_order(torch.empty(0), shape, True)
    count = int(np.prod(shape[2:]))
    assert x.shape == shape and layout.is_channels_last(x) and x.stride()[:2] == (shape[1] * count, 1)
    if len(shape) > 3:
        format = {4: torch.channels_last, 5: torch.channels_last_3d}[len(shape)]
        assert x.stride() == torch.empty(shape, memory_format=format).stride()


def test_memory_order_is_the_storage_order():
    x = torch.arange(120.0).view(2, 4, 5, 3).movedim(-1, 1)
    assert layout.is_channels_last(x) and layout.is_dense(x)
    flat = layout.memory_order(x, True)
    assert flat.tolist() == list(range(120)) and flat.data_ptr() == x.data_ptr()
    assert layout.from_memory_order(flat, x.shape, True).stride() == x.stride()


@pytest.mark.parametrize(
    "x",
    [
        torch.empty(4, 6)[:, ::2],
        torch.empty(4, 6).t(),
        torch.empty(2, 3, 4, 5).transpose(2, 3),
        torch.empty(1).expand(3),
    ],
    ids=["sliced", "transposed", "swapped", "expanded"],
)
def test_other_strides_are_not_dense(x):
    assert not layout.is_dense(x)
