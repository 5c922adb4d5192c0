"""The choice of a backend: by block, by environment, by default, and what happens when it is not there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import warnings

import pytest
import torch

from reluxfast import errors, ops
from reluxfast.ops import native, triton_state

# The function `backend` hides its module of the same name.
choice = importlib.import_module("reluxfast.ops.backend")
WITHOUT_LIBRARY = "import sys; sys.modules['reluxfast._C'] = None\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a program in a fresh process with warnings shown and Triton's interpreter off."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RELUXFAST_") and k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code], env={**clean, **environment}, capture_output=True, text=True
    )


def test_every_backend_is_there_or_has_a_reason():
    available = ops.available_backends()
    assert set(available) == {"reference", "cpp", "triton", "cuda"}
    assert available["reference"] is None
    assert available["cpp"] == native.MISSING_REASON


@pytest.mark.parametrize("name", ["reference", "cpp", "triton", "cuda"])
def test_what_is_there_can_be_asked_for_and_the_rest_says_why_not(name):
    reason = ops.available_backends()[name]
    if reason is None:
        with ops.backend(name):
            assert ops.active_backend() == name
        return
    with pytest.raises(errors.BackendUnavailable) as raised, ops.backend(name):
        pass
    assert raised.value.reason == reason and str(raised.value).startswith(
        f"backend '{name}' is not available: {reason}. "
    )
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("interpreter", "reason", "remedy"),
    [
        (None, "there is no CUDA device and Triton's interpreter is off", "set TRITON_INTERPRET=1"),
        ("0", "there is no CUDA device and Triton's interpreter is off", "set TRITON_INTERPRET=1"),
        ("1", None, None),
        ("true", None, None),
    ],
)
def test_triton_without_a_gpu_needs_the_interpreter(monkeypatch, interpreter, reason, remedy):
    monkeypatch.setattr(triton_state, "MISSING_REASON", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # As before the first use of a kernel.
    monkeypatch.delitem(sys.modules, "reluxfast.kernels.common", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if interpreter is not None:
        monkeypatch.setenv("TRITON_INTERPRET", interpreter)
    assert ops.available_backends()["triton"] == reason
    if reason is not None:
        with pytest.raises(errors.BackendUnavailable, match=remedy), ops.backend("triton"):
            pass


def test_triton_missing_or_old(monkeypatch):
    monkeypatch.setattr(triton_state, "version", lambda: None)
    assert triton_state._missing_reason() == "triton is not installed"
    monkeypatch.setattr(triton_state, "version", lambda: "3.10.0")
    assert triton_state._missing_reason() is None
    monkeypatch.setattr(triton_state, "version", lambda: "3.5.1")
    assert triton_state._missing_reason() == "triton 3.5.1 is older than 3.6"
    monkeypatch.setattr(triton_state, "MISSING_REASON", triton_state._missing_reason())
    with pytest.raises(errors.BackendUnavailable, match=r"older than 3\.6\. .*pip install 'reluxfast\[triton\]'"):
        with ops.backend("triton"):
            pass


def test_cuda_says_which_part_is_missing(monkeypatch):
    monkeypatch.setattr(native, "MISSING_REASON", None)
    monkeypatch.setattr(native, "has_cuda", lambda: False)
    assert ops.available_backends()["cuda"] == "the compiled kernels were built without CUDA"
    monkeypatch.setattr(native, "has_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ops.available_backends()["cuda"] == "there is no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert ops.available_backends()["cuda"] is None
    assert ops.available_backends("cpu")["cuda"] == "its kernels take CUDA tensors, got one on cpu"
    assert ops.available_backends("cuda")["cuda"] is None
    monkeypatch.setattr(native, "MISSING_REASON", "gone")
    assert ops.available_backends()["cuda"] == "gone"


def test_compiled_triton_takes_cuda_tensors_only(monkeypatch):
    monkeypatch.setattr(triton_state, "MISSING_REASON", None)
    monkeypatch.setattr(triton_state, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert ops.available_backends("cuda:0")["triton"] is None
    assert ops.available_backends("cpu")["triton"] == "Triton's interpreter is off"
    with ops.backend("triton"):
        with pytest.raises(errors.BackendUnavailable, match=r"interpreter is off.*set TRITON_INTERPRET=1"):
            ops.relu_pack(torch.ones(3))
        with pytest.raises(errors.BackendUnavailable, match="its kernels take CUDA tensors, got one on meta"):
            ops.relu_pack(torch.empty(3, device="meta"))


@pytest.mark.parametrize(
    ("compiled", "triton", "said"),
    [(True, "triton is not installed", None), (False, None, None), (False, "triton is not installed", "not installed")],
)
def test_auto_on_cuda_says_when_only_the_reference_is_left(monkeypatch, compiled, triton, said):
    monkeypatch.setattr(native, "has_cuda", lambda: compiled)
    monkeypatch.setattr(triton_state, "MISSING_REASON", triton)
    monkeypatch.setattr(triton_state, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    choice.warn_about_fallback.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            choice.warn_about_fallback("cuda")
    choice.warn_about_fallback.cache_clear()
    assert len(caught) == (said is not None)
    assert said is None or (said in str(caught[0].message) and "slower" in str(caught[0].message))


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
    operator, _, triton = ops._IMPLEMENTATIONS["gate"]
    monkeypatch.setitem(ops._IMPLEMENTATIONS, "gate", (operator, lambda *a: "the reference", triton))
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


def test_a_wrong_environment_fails_loudly(environment, monkeypatch):
    monkeypatch.setattr(native, "has_cuda", lambda: False)
    environment("cuda")
    with pytest.raises(errors.BackendUnavailable, match=native.MISSING_REASON or "built without CUDA"):
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
