"""The emulation itself: barriers, shuffles and ballots, what it refuses, and that a missing barrier is found.

And what only programs can show: kernels at indices beyond 32 bits.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cuda import build

FOLDER = Path(__file__).parent


def _run(session_folder: Path, *flags: str, name: str = "emulation_self_test") -> subprocess.CompletedProcess:
    command = [str(build.program(session_folder, FOLDER / f"{name}.cpp", *flags))]
    return subprocess.run(build.at_fixed_addresses(command), capture_output=True, text=True, timeout=120)


def test_known_kernels(session_folder, needs_compiler):
    done = _run(session_folder)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stdout + done.stderr


def test_a_missing_barrier_is_a_race(session_folder, needs_compiler):
    intact = _run(session_folder, "-fsanitize=thread")
    assert (intact.returncode, intact.stdout, intact.stderr) == (0, "right\n", "")
    without = _run(session_folder, "-fsanitize=thread", "-DRF_WITHOUT_BARRIER")
    assert without.returncode != 0 and "ThreadSanitizer: data race" in without.stderr
    assert "row_sums" in without.stderr


def test_indices_beyond_32_bits(session_folder, needs_compiler):
    done = _run(session_folder, name="huge_index")
    if done.returncode == 77:
        pytest.skip("this machine does not lend address space without memory")
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stdout + done.stderr
