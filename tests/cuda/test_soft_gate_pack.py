"""The CUDA kernels of soft_gate_pack, run on the CPU, against the reference."""

from __future__ import annotations

import math

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
INF = math.inf
KINDS = {
    "epsilon": {"d": False, "factors": (1.0, 0.0), "bounds": (-INF, INF), "in_place": True},
    "epsilon, bias": {"d": False, "bias": True, "residual": True, "numerator": 1, "in_place": True},
    "bias below": {"d_bias": True, "factors": (0.0, 1.0), "branches": (1,), "numerator": 2},
    "gamma": {"residual": True, "branches": (2,), "epsilon": 0.0, "bounds": (-1.0, 0.25)},
    "branches of one map": {"d": False, "factors": (1.0, 0.0, -0.3, 0.0), "branches": (1, 2), "numerator": 1},
    "alpha, beta": {"factors": (0.0, 1.0, 1.0, -1.0), "branches": (0, 0), "bounds": (-INF, INF), "in_place": True},
    "parts": {
        "bias": True,
        "twice": True,
        "factors": (1.0, 0.0, 0.0, 1.0),
        "branches": (0, 0),
        "in_place": True,
    },
    "everything": {
        "bias": True,
        "d_bias": True,
        "residual": True,
        "factors": (0.0, 1.1, 1.0, -0.9),
        "branches": (0, 2),
        "numerator": 2,
        "in_place": True,
    },
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(emulated, shape, layout, dtype):
    for kind in KINDS.values():
        for quantise in (False, True):
            run(emulated, cases.soft_gate_pack(shape, dtype, layout, quantise=quantise, most_blocks=1, **kind))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", KINDS)
def test_special_values(emulated, name, dtype):
    for epsilon in (0.0, 0.1):
        for quantise in (False, True):
            kind = {**KINDS[name], "epsilon": epsilon, "quantise": quantise}
            run(emulated, cases.soft_gate_pack((2, 24, 5, 7), dtype, "channels_last", special=True, **kind))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("name", ["z", "d", "residual", "bias", "d_bias", "v", "first", "second", "all"])
def test_pointers_off_sixteen_bytes(emulated, name, quantise, dtype):
    names = ["z", "d", "residual", "bias", "d_bias", "v", "first", "second"] if name == "all" else [name]
    names = [f"{n}_bytes" if quantise and n in ("first", "second") else n for n in names]
    for in_place in (False, True):
        for offset in (1, 3):
            kind = {**KINDS["everything"], "in_place": in_place, "offsets": dict.fromkeys(names, offset)}
            run(emulated, cases.soft_gate_pack((2, 24, 5, 7), dtype, "channels_last", quantise=quantise, **kind))


@pytest.mark.parametrize("numel", [1, 31, 32, 33, 127, 128, 129, 2047, 2049])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_ends_of_chunks_and_rounds(emulated, dtype, numel):
    for kind in ("alpha, beta", "gamma"):
        run(emulated, cases.soft_gate_pack((numel,), dtype, "contiguous", most_blocks=1, **KINDS[kind]))
