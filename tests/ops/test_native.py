"""The compiled kernels: each instruction set gives the reference's bits, and indices beyond 32 bits work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reluxfast.ops import native
from tests.ops.test_backend import python

ROOT = Path(__file__).resolve().parents[2]
ISAS = ("baseline", "avx2", "avx512")


def test_names_its_instruction_set():
    assert native.cpu_isa() in (None, *ISAS) and (native.cpu_isa() is None) == (native.MISSING_REASON is not None)


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_set(isa):
    if native.MISSING_REASON is not None:
        pytest.skip(native.MISSING_REASON)
    if ISAS.index(native.cpu_isa()) < ISAS.index(isa):
        pytest.skip(f"this machine has no {isa}")
    done = python("import runpy; runpy.run_module('tests.ops.same_bits', run_name='__main__')", RELUXFAST_CPU_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{isa}: 150 cases"


def test_indices_beyond_32_bits(tmp_path):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C++ compiler on Linux")
    sources = [ROOT / "tests/ops/huge_index.cpp"]
    coalitions = ("write_coalitions", "mlp_chains", "mlp_panel", "mlp_outer_sums", "draw_orders", "accumulate_moments")
    pools, gates = ("max_pool_pack", "max_pool_scatter"), ("relu_pack", "gate", "soft_gate_pack", "soft_gate")
    sources += [ROOT / f"csrc/cpu/{name}.cpp" for name in (*gates, *pools, *coalitions, "isa")]
    program = tmp_path / "huge_index"
    # One instruction set, lightly optimised: index arithmetic is the same in all of them.
    flags = ["-std=c++17", "-O1", "-DRF_X86=0", f"-I{ROOT / 'csrc'}"]
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this machine does not lend address space without memory")
    assert (done.returncode, done.stdout) == (0, "right\n")
