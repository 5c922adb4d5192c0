"""relu_pack and relu_pack_ against their statement in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES, LAYOUTS, grid, tensor

# No multiple of anything, a multiple of everything, one element, none; one to three spatial dimensions and none.
SHAPES = [
    (2, 3, 5, 7),
    (1, 16, 4, 8),
    (2, 33, 3, 3),
    (3, 5, 11),
    (2, 4, 3, 2, 5),
    (7, 19),
    (45,),
    (1, 1, 1, 1),
    (0, 3, 4, 4),
    (2, 0, 4, 4),
]
BOUNDS = [(0.0, math.inf), (0.0, 1.5), (-1.0, 2.25), (-math.inf, math.inf)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_bits(backend, shape, layout, dtype):
    values = grid(shape, 1)
    x = tensor(values, dtype, layout)
    kinds = (
        [(False, False), (False, True)] if len(shape) < 2 else [(b, r) for b in (False, True) for r in (False, True)]
    )
    for (with_bias, with_residual), (lo, hi) in [(k, b) for k in kinds for b in BOUNDS]:
        bias = grid(shape[1:2], 2) if with_bias else None
        residual = grid(shape, 3) if with_residual else None
        with ops.backend(backend):
            y, mask = ops.relu_pack(
                x,
                None if bias is None else tensor(bias, dtype, "contiguous"),
                # Another layout than x's: a residual may have any.
                None if residual is None else tensor(residual, dtype, "permuted"),
                lo,
                hi,
            )
        expected, bits = statement.relu_pack(values, bias, residual, lo, hi)
        statement.assert_equal(y, expected, x)
        statement.assert_packed(mask, bits, 1, x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_place(backend, shape, layout, dtype):
    values, residual = grid(shape, 1), grid(shape, 3)
    x = tensor(values, dtype, layout)
    before = x.data_ptr()
    with ops.backend(backend):
        mask = ops.relu_pack_(x, None, tensor(residual, dtype, "sliced"), 0.0, 2.0)
    expected, bits = statement.relu_pack(values, None, residual, 0.0, 2.0)
    assert x.data_ptr() == before
    statement.assert_equal(x, expected, x)
    statement.assert_packed(mask, bits, 1, x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nan_and_infinities(backend, layout, dtype):
    values, residual = grid((2, 19, 5, 3), 4, special=True), grid((2, 19, 5, 3), 5, special=True)
    x = tensor(values, dtype, layout)
    with ops.backend(backend):
        y, mask = ops.relu_pack(x, None, tensor(residual, dtype, layout), 0.0, 2.0)
    expected, bits = statement.relu_pack(values, None, residual, 0.0, 2.0)
    statement.assert_equal(y, expected, x)
    statement.assert_packed(mask, bits, 1, x)
    assert np.isnan(expected).any() and torch.isnan(y).any()


def test_values_without_bits(backend):
    x = torch.randn(3, 5, 7)
    with ops.backend(backend):
        y, mask = ops.relu_pack(x, pack=False)
    assert mask.shape == (0,) and mask.dtype == torch.uint8
    assert torch.equal(y, torch.relu(x))


def test_agrees_with_torch_on_random_values(backend):
    x, bias, residual = torch.randn(2, 17, 9, 9), torch.randn(17), torch.randn(2, 17, 9, 9)
    z = x + bias.view(-1, 1, 1) + residual
    with ops.backend(backend):
        y, mask = ops.relu_pack(x, bias, residual)
        gradient = ops.gate(torch.ones_like(y), mask)
    # The same float32 additions in the same order: nothing may differ.
    assert torch.equal(y, torch.relu(z))
    assert torch.equal(gradient, (z > 0).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_add_in_float32_and_round_once(backend, dtype):
    x, bias, residual = (torch.randn(s).to(dtype) for s in ((2, 17, 9, 9), (17,), (2, 17, 9, 9)))
    z = x.float() + bias.float().view(-1, 1, 1) + residual.float()
    with ops.backend(backend):
        y, mask = ops.relu_pack(x, bias, residual)
        bits = ops.gate(torch.ones_like(y), mask)
    assert torch.equal(y, torch.relu(z).to(dtype))
    assert torch.equal(bits, (z > 0).to(dtype))


def test_bit_is_taken_before_rounding(backend):
    # 2**-14 * 2**-11 rounds to 0 in float16 next to nothing, but is larger than 0.
    x = torch.full((8,), 2.0**-24, dtype=torch.float16)
    with ops.backend(backend):
        y, mask = ops.relu_pack(x, None, torch.full_like(x, -(2.0**-24)), 0.0)
        assert mask.tolist() == [0, 0, 0, 0] and torch.equal(y, torch.zeros_like(x))
        # 6 - 2**-9 rounds to 6 in bfloat16.
        _, mask = ops.relu_pack(
            torch.full((8,), 6.0, dtype=torch.bfloat16),
            None,
            torch.full((8,), -(2.0**-9), dtype=torch.bfloat16),
            0.0,
            6.0,
        )
        assert mask.tolist() == [255, 0, 0, 0]


@pytest.mark.parametrize("layout", ["permuted", "sliced"])
def test_in_place_needs_a_dense_tensor(backend, layout):
    x = tensor(grid((2, 3, 5, 7), 1), torch.float32, layout)
    with ops.backend(backend), pytest.raises(RuntimeError, match=r"x must be dense .*x\.contiguous\(\)"):
        ops.relu_pack_(x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda x: (x, torch.randn(4)), r"bias must have shape \(C,\)"),
        (lambda x: (x, torch.randn(3, dtype=torch.float64)), "bias must have x's dtype"),
        (lambda x: (x[0, 0, 0], torch.randn(7)), r"bias must have shape \(C,\)"),
        (lambda x: (x, None, torch.randn(2, 3, 5, 6)), "residual must have the shape of x"),
        (lambda x: (x, None, x.double()), "residual must have the dtype of x"),
        (lambda x: (x.int(),), "x must be float32, float64, float16 or bfloat16"),
    ],
)
def test_refuses(backend, arguments, message):
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        ops.relu_pack(*arguments(torch.randn(2, 3, 5, 7)))
