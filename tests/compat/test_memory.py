"""Nothing stays behind: 200 calls in a loop leave the process within 5 MB of its size after the 20th."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from tests.compat.calls import ADAPTERS

MOST = 5.0
LIBRARIES = ["captum", "zennit", "grad_cam", "shap"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_calls_in_a_loop(library):
    names = [name for name in ADAPTERS if name.startswith(f"{library}.")]
    done = subprocess.run([sys.executable, "-m", "tests.compat.growth", *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown = {line.partition(" MB ")[2]: float(line.partition(" MB ")[0]) for line in done.stdout.splitlines()}
    assert set(grown) == set(names)
    assert max(grown.values()) <= MOST, grown


@pytest.mark.parametrize("name", ADAPTERS)
def test_models_go_when_nobody_holds_them(name):
    adapter = ADAPTERS[name]
    for _ in range(2):  # what an import of the peer holds from the first call stays its own affair
        model = adapter.model()
        adapter.make(model)(adapter.inputs())
        gone = weakref.ref(model)
        del model
        gc.collect()
    assert gone() is None
