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
# 16-byte loads and stores of one program's code: a thread's rows of a tile, on the whole and on the masked path.
FLAT = {
    "gate, gradient": (4, 4),
    "gate, guided + skip": (8, 4),
    "gate, guided + skip, classes": (8, 4),
    "relu_pack": (4, 4),
    "relu_pack, residual": (8, 4),
    "relu_pack, bias + residual": (12, 4),
    "relu_pack, bias, contiguous": (4, 4),
    "relu_pack, no bits": (4, 4),
    "soft_gate": (8, 4),
    "soft_gate + skip": (12, 4),
    "soft_gate + skip, classes": (12, 4),
    "soft_gate, bytes + skip": (8, 4),
    "soft_gate_pack": (4, 8),
    "soft_gate_pack, ones": (4, 8),
    "soft_gate_pack, ones where v": (4, 8),
    "soft_gate_pack, d": (8, 8),
    "soft_gate_pack, d, v in place": (8, 4),
    "soft_gate_pack, d as residual, two in place": (12, 12),
    "soft_gate_pack, d + residual, branch": (12, 8),
    "soft_gate_pack, d + residual, two": (12, 12),
    "soft_gate_pack, d + residual, two, bytes": (12, 4),
    "soft_gate_pack, bytes": (4, 4),
    "soft_gate_pack, biases + residual, two": (20, 12),
    "soft_gate_pack, biases, contiguous": (8, 8),
}
# The same: taps, or windows, of two rows.
POOLS = {
    "max_pool_pack 2x2": (8, 2),
    "max_pool_pack 3x3": (18, 2),
    "max_pool_pack 2x2x2": (16, 2),
    "max_pool_scatter 2x2": (2, 2),
    "max_pool_scatter 3x3": (8, 2),
    "max_pool_scatter 2x2x2": (2, 2),
}
# Jobs to which a thread's two rows of a tile belong, and elements of such a row, each of which looks up its rank.
WRITTEN = {"write_coalitions": 1, "write_coalitions, short rows": 2}
LANES = {"float32": 4, "bfloat16": 8, "float64": 2}
# Only float32 is rounded.
ROUNDED = ("write_coalitions, to float16", "write_coalitions, to bfloat16")
WITH_NUMBERS = ("relu_pack_kernel", "soft_gate_pack_kernel")
# Programs of each for which a multiprocessor has room.
NETWORKS = {
    "mlp_outer_sums 128-64-1": 3,
    "mlp_outer_sums 256-128-10": 2,
    "mlp_outer_sums 64-256-256-10": 1,
    "mlp_chains 128-64-1": 3,
    "mlp_chains 128-64-1, groups": 3,
    "mlp_chains 128-64-10, forward": 2,
    "mlp_chains 256-128-1": 2,
    "mlp_chains 256-128-10, groups": 2,
    "mlp_chains 64-256-256-10": 1,
    "mlp_chains 128-64-1, tf32": 2,
    "mlp_chains 256-128-10, tf32": 1,
    "mlp_chains 1-1, ones": 3,
}
BARRIERS = {"mlp_direct_kernel": 1, "mlp_chains_kernel": 2, "mlp_outer_sums_kernel": 0}
# Bytes of a row's gates move in one access.
BYTES = {"float32": ".b32", "bfloat16": ".v2.b32", "float64": ".b16"}
BYTE_GATES = {
    "soft_gate, bytes + skip": ("ld.global", 4),
    "soft_gate_pack, bytes": ("st.global", 4),
    "soft_gate_pack, d + residual, two, bytes": ("st.global", 8),
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
    networks, elementwise = ([r for r in rows if (r["case"] in NETWORKS) == chosen] for chosen in (True, False))
    _check_resources(elementwise)
    _check_accesses(elementwise)
    _check_networks(networks)
    for row in rows:
        assert not any(access.startswith(("atom", "red")) for access in row["accesses"]), row
        # A direct product is never rounded.
        rounded = "tf32" in row["case"] and row["kernel"] == "mlp_chains_kernel"
        assert not row["flushes_denormals"] and row["tensor_cores"] == rounded, row
        # Bounds, factors and epsilon reach the kernel unrounded.
        assert row["floats"] == (["fp64"] if row["kernel"] in WITH_NUMBERS else []), row
        # Each operation rounds by itself, to nearest, in the type of computation.
        kind = "f64" if row["dtype"] == "float64" else "f32"
        allowed = ("add", "sub", "mul", "fma") if row["case"] in NETWORKS else ("add", "sub", "mul", "div")
        assert {*row["arithmetic"]} <= {f"{name}.rn.{kind}" for name in allowed}, row
        assert (f"div.rn.{kind}" in row["arithmetic"]) == (row["kernel"] == "soft_gate_pack_kernel"), row


def _check_coverage(rows: list[dict]) -> None:
    kernels = (
        "gate",
        "relu_pack",
        "max_pool_pack",
        "max_pool_scatter",
        "soft_gate",
        "soft_gate_pack",
        "write_coalitions",
        "mlp_direct",
        "mlp_chains",
        "mlp_outer_sums",
    )
    assert {row["kernel"] for row in rows} == {f"{name}_kernel" for name in kernels}
    cases = {row["case"] for row in rows}
    assert cases > FLAT.keys() | POOLS.keys() | WRITTEN.keys() | NETWORKS.keys() | {*ROUNDED}
    only = {*ROUNDED, *NETWORKS}
    wanted = {(case, dtype) for case in cases for dtype in (DTYPES if case not in only else DTYPES[:1])}
    assert {(row["case"], row["dtype"]) for row in rows} == wanted
    # Chains begin with a direct product.
    assert len(rows) == len(wanted) + sum(case.startswith("mlp_chains") for case in cases)


def _check_resources(rows: list[dict]) -> None:
    assert all(row["stack"] == 0 for row in rows), [row for row in rows if row["stack"]]
    # Eight blocks of 128 threads find room on one multiprocessor: 65,536 registers, 227 KiB of shared memory.
    assert max(row["shared"] for row in rows) <= 4096
    light = [row for row in rows if row["case"] in FLAT and row["kernel"] != "soft_gate_pack_kernel"]
    assert max(row["registers"] for row in light) <= 64
    # Divisions need more: four blocks.
    assert max(row["registers"] for row in rows if row["case"] in FLAT) <= 128
    # Pools: three blocks.
    assert max(row["registers"] for row in rows) <= 168
    # A row of the tile belongs to one thread: what reads packed fields exchanges nothing.
    starts = ("gate", "soft_gate", "max_pool_scatter")
    alone = [r for r in rows if r["case"].startswith(starts) and r["case"] != "max_pool_scatter 3x3, contiguous"]
    assert alone and all(row["shared"] == 0 for row in alone), alone


def _check_accesses(rows: list[dict]) -> None:
    for row in rows:
        case, wide = row["case"], ".v2.b64" if row["dtype"] == "float64" else ".v4.b32"
        if case in WRITTEN or case in ROUNDED:
            _check_written(row, wide)
        if case not in FLAT | POOLS:
            continue
        loads, stores = (FLAT | POOLS)[case]
        assert row["accesses"].get("ld.global" + wide) == loads, row
        assert row["accesses"].get("st.global" + wide) == stores, row
        # Words of bits, bytes of gates, and a bias that a whole row shares, are all that may move in smaller pieces.
        rest = {access: count for access, count in row["accesses"].items() if not access.endswith(wide)}
        if case in BYTE_GATES:
            direction, count = BYTE_GATES[case]
            assert rest == {direction + BYTES[row["dtype"]]: count}, row
            continue
        words = {"ld.global.b32", "st.global.b32"} if "soft" not in case else set()
        bias = {"ld.global.b16", "ld.global.b32", "ld.global.b64"} if "bias" in case else set()
        assert rest.keys() <= words | bias, row


def _check_written(row: dict, wide: str) -> None:
    case, accesses = row["case"], row["accesses"]
    lanes = LANES["bfloat16" if case in ROUNDED else row["dtype"]]
    assert accesses["ld.global.b32"] == 2 * lanes + 4 * WRITTEN.get(case, 1), row
    # x, background and, in pieces of their own size, labels.
    assert accesses["ld.global" + wide] >= (8 if case in ROUNDED else 4), row
    assert accesses["st.global" + wide] == 2, row
    assert not [a for a in accesses if a.startswith("st") and not a.endswith(wide)], row


def _check_networks(rows: list[dict]) -> None:
    for row in rows:
        # A few addresses; not what is multiplied.
        assert row["stack"] <= 16, row
        programs = min(65_536 // (row["registers"] * row["threads"]), (227 << 10) // (row["shared"] + 1024))
        assert programs >= NETWORKS[row["case"]], row
        # A single player's chains are nothing but their ends.
        if row["case"].endswith("ones"):
            continue
        assert ("fma.rn.f32" in row["arithmetic"]) != row["tensor_cores"], row
        # Nothing else sees one that is missing: before and after a hidden layer's activations are written; after the
        # first layer's in a direct product; in chains before they begin and before each step; sums are not written.
        layers = row["case"].split(",")[0].count("-") + 1
        assert row["barriers"] == 2 * (layers - 2) + BARRIERS[row["kernel"]], row
