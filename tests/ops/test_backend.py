"""The choice of a backend: by block, by environment, by default, and what happens when it is not there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading

import pytest
import torch

from reluxfast import errors, ops
from reluxfast.ops import native

# The function `backend` hides its module of the same name.
choice = importlib.import_module("reluxfast.ops.backend")
WITHOUT_LIBRARY = "import sys; sys.modules['reluxfast._C'] = None\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a program in a fresh interpreter with warnings shown."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RELUXFAST_")}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code], env={**clean, **environment}, capture_output=True, text=True
    )


def test_every_backend_is_there_or_has_a_reason():
    available = ops.available_backends()
    assert set(available) == {"reference", "cpp", "triton", "cuda"}
    assert available["reference"] is None
    assert available["triton"] == "this version has no Triton kernels yet"
    assert available["cuda"] == "this version has no CUDA kernels yet"
    assert available["cpp"] == native.MISSING_REASON


@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_a_missing_backend_fails_loudly(name):
    with pytest.raises(errors.BackendUnavailable, match=f"'{name}' is not available: this version .* Use backend"):
        with ops.backend(name):
            pass


def test_an_unknown_backend_lists_the_known():
    with pytest.raises(errors.InvalidInput, match="name must be one of auto, reference, cpp, triton, cuda, got 'gpu'"):
        with ops.backend("gpu"):
            pass


def test_blocks_nest_and_end():
    before = ops.active_backend()
    with ops.backend("reference"):
        with ops.backend("auto"):
            assert ops.active_backend() == "auto"
        assert ops.active_backend() == "reference"
        with pytest.raises(ZeroDivisionError), ops.backend("auto"):
            raise ZeroDivisionError
        assert ops.active_backend() == "reference"
    assert ops.active_backend() == before


def test_each_thread_has_its_own_choice():
    seen = []
    with ops.backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(ops.active_backend()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_reference_is_what_its_name_says(monkeypatch):
    operator, _ = ops._IMPLEMENTATIONS["gate"]
    monkeypatch.setitem(ops._IMPLEMENTATIONS, "gate", (operator, lambda *a: "the reference"))
    g = torch.ones(3)
    with ops.backend("reference"):
        assert ops.gate(g, None, None, 2) == "the reference"
    with ops.backend("auto"):
        assert torch.equal(ops.gate(g, None, None, 2), g)


@pytest.fixture
def environment(monkeypatch):
    """Sets RELUXFAST_BACKEND as a fresh process would find it."""

    def set_to(name: str) -> None:
        monkeypatch.setenv("RELUXFAST_BACKEND", name)
        choice._default.cache_clear()

    yield set_to
    monkeypatch.undo()
    choice._default.cache_clear()


def test_the_environment_gives_the_default(environment):
    environment("reference")
    assert ops.active_backend() == "reference"
    with ops.backend("auto"):
        assert ops.active_backend() == "auto"
    environment("")
    assert ops.active_backend() == "auto"


def test_a_wrong_environment_fails_loudly(environment):
    environment("triton")
    with pytest.raises(errors.BackendUnavailable, match="this version has no Triton kernels yet"):
        ops.active_backend()
    environment("fast")
    with pytest.raises(errors.InvalidInput, match="RELUXFAST_BACKEND must be one of"):
        ops.active_backend()


def test_without_the_library_the_reference_answers_and_says_so_once():
    done = python(
        WITHOUT_LIBRARY
        + "import torch, reluxfast.ops as o\n"
        + "with o.backend('reference'): o.relu_pack(torch.ones(1))\n"
        + "print('silent so far', file=sys.stderr)\n"
        + "for _ in range(3): y, mask = o.relu_pack(torch.tensor([-1., 2.]))\n"
        + "print(y.tolist(), mask.tolist(), o.available_backends()['cpp'])\n"
        + "with o.backend('cpp'): pass\n"
    )
    assert done.stdout.strip() == "[0.0, 2.0] [2, 0, 0, 0] reluxfast was installed without its compiled kernels"
    before, after = done.stderr.split("silent so far")
    assert "slower" not in before and after.count("reluxfast computes with its slower pure-torch reference") == 1
    assert done.returncode != 0 and "BackendUnavailable" in after and "Install a C++ compiler" in after


def test_cpp_takes_cpu_tensors_only():
    if native.MISSING_REASON is not None:
        pytest.skip(native.MISSING_REASON)
    with (
        ops.backend("cpp"),
        pytest.raises(errors.BackendUnavailable, match="its kernels take CPU tensors, got one on meta"),
    ):
        ops.relu_pack(torch.empty(3, device="meta"))
