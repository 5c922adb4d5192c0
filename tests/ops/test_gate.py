"""gate and gate_ against their statement in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES, LAYOUTS, grid, tensor

# One row of the mask: sizes that begin the next class inside a byte, and sizes that do not; one element; none.
ROWS = [
    (2, 3, 5, 7),
    (1, 16, 4, 8),
    (2, 33, 3, 3),
    (3, 5, 11),
    (1, 3, 3, 2, 5),
    (7, 19),
    (45,),
    (1, 1, 1, 1),
    (0, 3, 4),
]


def _mask(bits: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return statement.packed_tensor(bits, 1, like)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_values(backend, row, layout, dtype):
    bits = grid(row, 1) > 0
    for classes in (1, 3):
        shape = (classes * row[0], *row[1:])
        values, skip = grid(shape, 2), grid(shape, 3)
        g = tensor(values, dtype, layout)
        mask = _mask(bits, g)
        for mode in range(4):
            for with_skip in (False, True):
                with ops.backend(backend):
                    out = ops.gate(
                        g,
                        mask if mode & 1 else None,
                        # Another layout than g's: a skip may have any.
                        tensor(skip, dtype, "permuted") if with_skip else None,
                        mode,
                        bits.size,
                    )
                statement.assert_equal(out, statement.gate(values, bits, skip if with_skip else None, mode), g)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_in_place(backend, row, layout, dtype):
    bits, shape = grid(row, 1) > 0, (2 * row[0], *row[1:])
    values, skip = grid(shape, 2), grid(shape, 3)
    for mode in range(4):
        g = tensor(values, dtype, layout)
        before = g.data_ptr()
        with ops.backend(backend):
            assert ops.gate_(g, _mask(bits, g), tensor(skip, dtype, "sliced"), mode, bits.size) is None
        assert g.data_ptr() == before
        statement.assert_equal(g, statement.gate(values, bits, skip, mode), g)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", range(4))
def test_a_closed_gate_gives_exactly_zero(backend, mode, dtype):
    values = grid((2, 19, 5, 3), 4, special=True)
    bits = grid(values.shape, 5) > 0
    g = tensor(values, dtype, "channels_last")
    with ops.backend(backend):
        out = ops.gate(g, _mask(bits, g), None, mode)
    expected = statement.gate(values, bits, None, mode)
    statement.assert_equal(out, expected, g)
    closed = statement.array(out)[expected == 0]
    # Bitwise zeros: 0 * inf or a kept -0.0 would show.
    if mode:
        assert not np.signbit(closed[closed == 0]).any() or not mode & 2


def test_the_period_defaults_to_all_elements(backend):
    g = torch.randn(2, 5)
    mask = torch.tensor([0b10110101, 0b01, 0, 0], dtype=torch.uint8)
    bits = torch.tensor([1, 0, 1, 0, 1, 1, 0, 1, 1, 0], dtype=torch.bool).view(2, 5)
    with ops.backend(backend):
        assert torch.equal(ops.gate(g, mask), torch.where(bits, g, 0))


def test_modes_by_name():
    assert ops.MODES == {"gradient": 1, "guided_backprop": 3, "deconvnet": 2}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_decide_on_the_float32_sum(backend, dtype):
    g, skip = torch.randn(999).to(dtype), torch.randn(999).to(dtype)
    s = g.float() + skip.float()
    with ops.backend(backend):
        assert torch.equal(ops.gate(g, None, skip, 2), torch.where(s > 0, s, 0).to(dtype))


@pytest.mark.parametrize("layout", ["permuted", "sliced"])
def test_in_place_needs_a_dense_tensor(backend, layout):
    g = tensor(grid((2, 3, 5, 7), 1), torch.float32, layout)
    with ops.backend(backend), pytest.raises(RuntimeError, match=r"g must be dense .*g\.contiguous\(\)"):
        ops.gate_(g, None, None, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda g, m: (g, m, None, 4), "mode must be 0"),
        (lambda g, m: (g, m, None, -1), "mode must be 0"),
        (lambda g, m: (g, None, None, 1), "mask must be given for mode 1"),
        (lambda g, m: (g, m[:-1], None, 3), "mask must hold 12 bytes"),
        (lambda g, m: (g, m.int(), None, 1), "mask must be a contiguous 1-D uint8 tensor"),
        (lambda g, m: (g, m, None, 1, 7), "period must divide the number of elements of g, 66, got 7"),
        (lambda g, m: (g, m, None, 1, 0), "period must divide"),
        (lambda g, m: (g, m, torch.randn(2, 3), 1), "skip must have the shape of g"),
        (lambda g, m: (g, m, g.double(), 1), "skip must have the dtype of g"),
    ],
)
def test_refuses(backend, arguments, message):
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        ops.gate(*arguments(torch.randn(2, 3, 11), torch.zeros(12, dtype=torch.uint8)))
