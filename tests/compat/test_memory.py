"""Nothing stays behind: 200 calls in a loop leave the process within 5 MB of its size after the 20th, and no model."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from tests.compat.calls import ADAPTERS

MOST = 5.0
LIBRARIES = ["captum", "zennit", "grad_cam", "shap"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_calls_in_a_loop(library):
    names = [name for name in ADAPTERS if name.startswith(f"{library}.")]
    lacking = {needs for name in names if (needs := ADAPTERS[name].needs) and importlib.util.find_spec(needs) is None}
    names = [name for name in names if ADAPTERS[name].needs not in lacking]
    done = subprocess.run([sys.executable, "-m", "tests.compat.growth", *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {line.partition(": ")[2]: line.partition(": ")[0] for line in done.stdout.splitlines()}
    assert set(found) == set(names)
    assert max(float(said.partition(" MB")[0]) for said in found.values()) <= MOST, found
    assert all(said.endswith("model gone") for said in found.values()), found
