"""The emulation itself: barriers, shuffles and ballots, what it refuses, and that a missing barrier is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cuda import build

SOURCE = Path(__file__).parent / "emulation_self_test.cpp"


def _run(session_folder: Path, *flags: str) -> subprocess.CompletedProcess:
    command = [str(build.program(session_folder, SOURCE, *flags))]
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
