"""The CUDA kernels of relu_pack, run on the CPU, against the reference."""

from __future__ import annotations

import math
from itertools import product

import pytest

from tests.cuda import cases
from tests.cuda.calls import run

# Odd sizes; whole chunks of bias; chunks within a channel; several rounds of the grid; no spatial sizes; one element.
SHAPES = [
    (2, 3, 5, 7),
    (3, 64, 5, 5),
    (2, 5, 7, 16),
    (2, 40, 9, 14),
    (7, 19),
    (1, 1, 1, 1),
    (2, 33, 3),
    (1, 8, 2, 3, 4),
]
BOUNDS = [(0.0, math.inf), (0.0, 1.5), (-1.0, 0.25), (-math.inf, math.inf)]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_bits(emulated, shape, layout, dtype):
    for number, (bias, residual) in enumerate(product((False, True), repeat=2)):
        call = cases.relu_pack(
            shape, dtype, layout, bias=bias, residual=residual, bounds=BOUNDS[number], in_place=residual, most_blocks=1
        )
        run(emulated, call)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_special_values(emulated, layout, dtype):
    run(emulated, cases.relu_pack((2, 24, 5, 7), dtype, layout, bias=True, residual=True, special=True))
    run(emulated, cases.relu_pack((2, 24, 5, 7), dtype, layout, bias=False, residual=False, special=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("names", [("x",), ("y",), ("residual",), ("bias",), ("x", "y", "residual", "bias")], ids=str)
def test_pointers_off_sixteen_bytes(emulated, names, dtype):
    for in_place, offset in product((False, True), (1, 3)):
        call = cases.relu_pack(
            (2, 24, 5, 7),
            dtype,
            "channels_last",
            bias=True,
            residual=True,
            in_place=in_place,
            offsets=dict.fromkeys(names, offset),
        )
        run(emulated, call)


def test_without_bits(emulated):
    run(emulated, cases.relu_pack((2, 24, 5, 7), "float32", "contiguous", bias=True, residual=False, pack=False))


@pytest.mark.parametrize("numel", [1, 31, 32, 33, 127, 128, 129, 2047, 2049])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_ends_of_words_and_rounds(emulated, dtype, numel):
    run(emulated, cases.relu_pack((numel,), dtype, "contiguous", bias=False, residual=False, most_blocks=1))
