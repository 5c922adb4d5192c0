"""The CUDA kernels of soft_gate, run on the CPU, against the reference."""

from __future__ import annotations

from itertools import product

import pytest

from tests.cuda import cases
from tests.cuda.calls import run

SHAPES = [(2, 3, 5, 7), (3, 64, 5, 5), (2, 40, 9, 14), (45,), (1,), (32,), (4097,)]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(emulated, shape, quantised, dtype):
    for classes, skip in product((1, 3), (False, True)):
        run(emulated, cases.soft_gate(shape, dtype, classes=classes, skip=skip, quantised=quantised, in_place=skip))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("quantised", [False, True])
def test_special_values(emulated, quantised, dtype):
    for skip in (False, True):
        run(emulated, cases.soft_gate((2, 24, 5, 7), dtype, skip=skip, quantised=quantised, special=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("name", ["g", "out", "skip", "q", "all"])
def test_pointers_off_sixteen_bytes(emulated, name, quantised, dtype):
    names = ["g", "out", "skip", "q"] if name == "all" else [name]
    names = ["bytes" if quantised and n == "q" else n for n in names]
    for classes, offset in product((1, 3), (1, 3)):
        offsets = dict.fromkeys(names, offset)
        case = cases.soft_gate((2, 24, 5, 7), dtype, classes=classes, skip=True, quantised=quantised, offsets=offsets)
        run(emulated, case)
