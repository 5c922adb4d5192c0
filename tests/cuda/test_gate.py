"""The CUDA kernels of gate, run on the CPU, against the reference."""

from __future__ import annotations

from itertools import product

import pytest

from tests.cuda import cases
from tests.cuda.calls import run

SHAPES = [(2, 3, 5, 7), (3, 64, 5, 5), (2, 40, 9, 14), (45,), (1,), (32,), (4097,)]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(emulated, shape, mode, dtype):
    for classes, skip in product((1, 3), (False, True)):
        run(emulated, cases.gate(shape, dtype, mode, classes=classes, skip=skip, in_place=skip, most_blocks=2))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("mode", range(4))
def test_special_values(emulated, mode, dtype):
    for skip in (False, True):
        run(emulated, cases.gate((2, 24, 5, 7), dtype, mode, skip=skip, special=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("names", [("g",), ("out",), ("skip",), ("mask",), ("g", "out", "skip", "mask")], ids=str)
def test_pointers_off_sixteen_bytes(emulated, names, dtype):
    for mode, classes, offset in product((0, 3), (1, 3), (1, 3)):
        offsets = dict.fromkeys(names, offset)
        run(emulated, cases.gate((2, 24, 5, 7), dtype, mode, classes=classes, skip=True, offsets=offsets))
