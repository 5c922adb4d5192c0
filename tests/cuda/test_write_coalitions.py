"""The CUDA kernels of write_coalitions, run on the CPU, against the reference."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tests.cuda import cases
from tests.cuda.calls import run

# Whole chunks in every dtype, and sizes that are not; a row in less than a warp; several rounds of the grid.
SHAPES = [(3, 8), (40, 16), (5, 24), (7, 61), (300, 1), (2, 1600), (3, 1601), (4, 6), (5, 20)]
HALF_TYPES = ("float16", "bfloat16")


def _labels(d: int) -> dict[str, torch.Tensor]:
    return {
        "own": torch.arange(d),
        "groups": torch.randint(0, max(1, d // 3), (d,)),
        "runs": torch.arange(d) // 16 % 5,
        "one": torch.zeros(d, dtype=torch.long),
    }


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(emulated, shape, dtype):
    for labels, wide in product(_labels(shape[1]).values(), (False, True)):
        if not wide or dtype in HALF_TYPES:
            run(emulated, cases.write_coalitions(shape, dtype, labels, wide=wide, special=True, most_blocks=2))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", ["out", "x", "background", "labels", "ranks", "jobs", "all"])
def test_pointers_off_sixteen_bytes(emulated, name, dtype):
    names = ["out", "x", "background", "labels", "ranks", "jobs"] if name == "all" else [name]
    for wide, offset in product((False, True), (1, 3)):
        if not wide or dtype in HALF_TYPES:
            offsets = dict.fromkeys(names, offset)
            run(emulated, cases.write_coalitions((5, 64), dtype, torch.arange(64) // 12, wide=wide, offsets=offsets))
