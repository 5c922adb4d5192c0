"""The CUDA kernels of max_pool_pack and max_pool_scatter, run on the CPU, against the reference."""

from __future__ import annotations

import math

import pytest

from tests.cuda import cases
from tests.cuda.calls import run
from tests.ops import test_max_pool

SHAPES_AND_POOLS = {name: case[:2] for name, case in test_max_pool.CASES.items() if math.prod(case[0])}
# Whole chunks of channels, for every kernel that the compiler knows and for those it does not.
SHAPES_AND_POOLS |= {
    "2x2/2 chunks": ((2, 24, 8, 10), ((2, 2), (2, 2), (0, 0), (1, 1), False)),
    "2x2/1 padded, dilated": ((1, 8, 7, 6), ((2, 2), (1, 1), (1, 1), (2, 3), True)),
    "3x3/2 chunks": ((1, 40, 15, 14), ((3, 3), (2, 2), (1, 1), (1, 1), True)),
    "3x3/1 dilated": ((1, 16, 8, 8), ((3, 3), (1, 1), (1, 1), (2, 2), False)),
    "5x4 chunks": ((1, 16, 8, 9), ((5, 4), (2, 1), (2, 2), (1, 1), True)),
    "4x4/3 chunks": ((2, 16, 9, 9), ((4, 4), (3, 3), (2, 2), (1, 1), False)),
    "3-d chunks": ((1, 16, 5, 6, 5), ((2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 1, 2), False)),
    "1-d chunks": ((2, 16, 37), ((3,), (2,), (1,), (1,), True)),
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("name", SHAPES_AND_POOLS)
def test_forward(emulated, name, layout, dtype):
    for relu in (False, True):
        run(emulated, cases.max_pool_pack(*SHAPES_AND_POOLS[name], dtype, layout, relu=relu, most_blocks=1))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("name", SHAPES_AND_POOLS)
def test_reverse(emulated, name, layout, dtype):
    for mode in range(4):
        for classes in (1, 3):
            call = cases.max_pool_scatter(*SHAPES_AND_POOLS[name], dtype, layout, mode, classes=classes, most_blocks=2)
            run(emulated, call)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("name", ["2x2/2 chunks", "3x3/2 chunks", "4x4/3 chunks", "3-d chunks"])
def test_special_values(emulated, name, layout, dtype):
    for relu in (False, True):
        run(emulated, cases.max_pool_pack(*SHAPES_AND_POOLS[name], dtype, layout, relu=relu, special=True))
    for mode in range(4):
        run(emulated, cases.max_pool_scatter(*SHAPES_AND_POOLS[name], dtype, layout, mode, special=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", ["2x2/2 chunks", "3x3/2 chunks", "5x4 chunks"])
def test_pointers_off_sixteen_bytes(emulated, name, dtype):
    case = (*SHAPES_AND_POOLS[name], dtype, "channels_last")
    for argument in ("x", "y"):
        run(emulated, cases.max_pool_pack(*case, relu=True, offsets={argument: 1}))
    for argument in ("g", "out", "winner", "mask"):
        run(emulated, cases.max_pool_scatter(*case, 3, classes=2, offsets={argument: 1}))


def test_without_bits(emulated):
    call = cases.max_pool_pack(*SHAPES_AND_POOLS["3x3/2 chunks"], "float32", "channels_last", relu=True, pack=False)
    run(emulated, call)
