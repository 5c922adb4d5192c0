"""The kernels compile for an H200 without one: 16-byte accesses, no spills, no atomics, no flushed denormals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from reluxfast.ops import triton_state
from tests.ops.test_backend import python

FOLDER = Path(__file__).resolve().parents[2] / "build" / "triton"
DTYPES = ("float32", "bfloat16", "float64")
# 16-byte loads of one program's code: rows of a tile that a thread reads, on the whole and on the masked path.
FLAT = {
    "gate, gradient": 4,
    "gate, guided + skip": 8,
    "gate, guided + skip, classes": 8,
    "relu_pack": 4,
    "relu_pack, residual": 8,
    "relu_pack, bias + residual": 12,
    "relu_pack, bias, contiguous": 4,
    "relu_pack, no bits": 4,
}
# The same: taps, or windows, of two rows.
POOLS = {
    "max_pool_pack 2x2": 8,
    "max_pool_pack 3x3": 18,
    "max_pool_pack 2x2x2": 16,
    "max_pool_scatter 2x2": 2,
    "max_pool_scatter 3x3": 8,
    "max_pool_scatter 2x2x2": 2,
}


@pytest.mark.skipif(triton_state.MISSING_REASON is not None, reason=str(triton_state.MISSING_REASON))
def test_every_kernel_compiles_well():
    """One test, so that the kernels are compiled once; also writes build/triton/kernels.csv."""
    program = (
        f"import sys, runpy; sys.argv[1:] = {DTYPES}; runpy.run_module('tests.triton.compiled', run_name='__main__')"
    )
    done = python(program, TRITON_CACHE_DIR=str(FOLDER / "cache"))
    assert done.returncode == 0, done.stderr
    # Triton has its own warnings for whoever does not say how to round.
    assert "TRITON" not in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    with (FOLDER / "kernels.csv").open("w", newline="") as file:
        columns = ("triton", "kernel", "case", "dtype", "registers", "stack", "shared")
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    _check_coverage(rows)
    _check_resources(rows)
    _check_accesses(rows)
    for row in rows:
        assert not any(access.startswith(("atom", "red")) for access in row["accesses"]), row
        assert not row["flushes_denormals"], row
        # Bounds reach the kernel unrounded.
        assert row["floats"] == (["fp64"] if row["kernel"] == "relu_pack_kernel" else []), row


def _check_coverage(rows: list[dict]) -> None:
    kernels = {"gate_kernel", "relu_pack_kernel", "max_pool_pack_kernel", "max_pool_scatter_kernel"}
    assert {row["kernel"] for row in rows} == kernels
    cases = {row["case"] for row in rows}
    assert cases > FLAT.keys() | POOLS.keys()
    assert {(row["case"], row["dtype"]) for row in rows} == {(case, dtype) for case in cases for dtype in DTYPES}


def _check_resources(rows: list[dict]) -> None:
    assert all(row["stack"] == 0 for row in rows), [row for row in rows if row["stack"]]
    # Eight blocks of 128 threads find room on one multiprocessor: 65,536 registers, 227 KiB of shared memory.
    assert max(row["shared"] for row in rows) <= 4096
    assert max(row["registers"] for row in rows if row["case"] in FLAT) <= 64
    # Pools: three blocks.
    assert max(row["registers"] for row in rows) <= 168
    # A row of the tile belongs to one thread: what reads packed fields exchanges nothing.
    alone = [r for r in rows if r["case"].startswith(("gate", "max_pool_scatter")) and "contiguous" not in r["case"]]
    assert alone and all(row["shared"] == 0 for row in alone), alone


def _check_accesses(rows: list[dict]) -> None:
    for row in rows:
        case, wide = row["case"], ".v2.b64" if row["dtype"] == "float64" else ".v4.b32"
        if case not in FLAT | POOLS:
            continue
        assert row["accesses"].get("ld.global" + wide) == (FLAT | POOLS)[case], row
        assert row["accesses"].get("st.global" + wide) == (4 if case in FLAT else 2), row
        # Words of bits, and a bias that a whole row shares, are all that may move in smaller pieces.
        rest = {access for access in row["accesses"] if not access.endswith(wide)}
        assert rest <= {"ld.global.b32", "st.global.b32"} | (
            {"ld.global.b16", "ld.global.b64"} if "bias" in case else set()
        )
