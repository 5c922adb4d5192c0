"""Which implementation answers: "auto", "reference", "cpp", "triton" or "cuda".

"auto" is the dispatcher's choice: on the CPU the C++ kernels, on CUDA the compiled CUDA kernels, else Triton's; where
there is none of these the reference, saying so once. The environment variable RELUXFAST_BACKEND gives the default,
`with backend(name):` overrides it for a block; each thread and each asynchronous task has its own choice. A backend
asked for by name that is not there, or that does not take the tensors it is given, is an error.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple

import torch

from reluxfast.errors import BackendUnavailable, InvalidInput
from reluxfast.ops import native, triton_state

BACKENDS = ("auto", "reference", "cpp", "triton", "cuda")
_chosen: ContextVar[str | None] = ContextVar("reluxfast_backend", default=None)
_NO_GPU = "there is no CUDA device"
_WITH_COMPILER = "Install a C++ compiler and reinstall reluxfast from source, or use backend 'reference'"
_WITH_NVCC = "Reinstall reluxfast from source with nvcc and a CUDA build of torch, or use backend 'auto'"
_WITH_TRITON = "Install it with pip install 'reluxfast[triton]', or use backend 'auto'"
_WITH_INTERPRETER = "Use backend 'auto', or set TRITON_INTERPRET=1 to run the kernels on the CPU, slowly, as tests do"


class _Lack(NamedTuple):
    """Why a backend cannot be used, and what to do about it."""

    reason: str
    remedy: str


def _lack_of_cpp() -> _Lack | None:
    return None if native.MISSING_REASON is None else _Lack(native.MISSING_REASON, _WITH_COMPILER)


def _lack_of_triton() -> _Lack | None:
    if triton_state.MISSING_REASON is not None:
        return _Lack(triton_state.MISSING_REASON, _WITH_TRITON)
    if triton_state.interpreted() or torch.cuda.is_available():
        return None
    return _Lack(f"{_NO_GPU} and Triton's interpreter is off", _WITH_INTERPRETER)


def _lack_of_cuda() -> _Lack | None:
    if native.MISSING_REASON is not None:
        return _Lack(native.MISSING_REASON, _WITH_NVCC)
    if not native.has_cuda():
        return _Lack("the compiled kernels were built without CUDA", _WITH_NVCC)
    return None if torch.cuda.is_available() else _Lack(_NO_GPU, "Use backend 'auto'")


_LACKS = {"reference": lambda: None, "cpp": _lack_of_cpp, "triton": _lack_of_triton, "cuda": _lack_of_cuda}


def _refusal(name: str, device: torch.device) -> _Lack | None:
    """Why a backend that is there does not take tensors on a device."""
    if name == "reference":
        return None
    if device.type == ("cpu" if name == "cpp" else "cuda"):
        return None
    if name == "triton" and device.type == "cpu":
        return None if triton_state.interpreted() else _Lack("Triton's interpreter is off", _WITH_INTERPRETER)
    kind = "CPU" if name == "cpp" else "CUDA"
    return _Lack(f"its kernels take {kind} tensors, got one on {device}", "Use backend 'auto' or move the tensor")


def available_backends(device: torch.device | str | None = None) -> dict[str, str | None]:
    """Each backend's name with None if it can be used (on tensors of `device`, if given), else the reason why not."""
    found = {}
    for name, lack_of in _LACKS.items():
        lack = lack_of()
        if lack is None and device is not None:
            lack = _refusal(name, torch.device(device))
        found[name] = None if lack is None else lack.reason
    return found


def check_device(name: str, device: torch.device) -> None:
    """Refuse to use a backend, which is there, on tensors that it does not take.

    Raises:
        BackendUnavailable: the message says why and what to do.
    """
    lack = _refusal(name, device)
    if lack is not None:
        raise BackendUnavailable(name, *lack)


def _require(name: str, argument: str) -> str:
    if name not in BACKENDS:
        raise InvalidInput(argument, f"must be one of {', '.join(BACKENDS)}", repr(name))
    lack = _LACKS[name]() if name != "auto" else None
    if lack is not None:
        raise BackendUnavailable(name, *lack)
    return name


@cache
def _default() -> str:
    return _require(os.environ.get("RELUXFAST_BACKEND") or "auto", "RELUXFAST_BACKEND")


@cache
def warn_about_fallback(device_type: str) -> None:
    """Say once that "auto" has only the reference for tensors of a device, and why."""
    if device_type == "cpu":
        lack = _lack_of_cpp()
    elif device_type == "cuda" and not native.has_cuda():
        lack = _lack_of_triton()
    else:
        return
    if lack is not None:
        warnings.warn(
            f"reluxfast computes with its slower pure-torch reference: {lack.reason}. {lack.remedy} to silence this",
            UserWarning,
            stacklevel=4,
        )


def active_backend() -> str:
    """Name of the backend in force here: that of the innermost `backend` block, else RELUXFAST_BACKEND, else "auto".

    Raises:
        BackendUnavailable: RELUXFAST_BACKEND names a backend that is not there.
        InvalidInput: RELUXFAST_BACKEND is no backend's name.
    """
    return _chosen.get() or _default()


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Use one backend for the calls inside a `with` block.

    Raises:
        BackendUnavailable: it is not there; the message says why and what to do.
        InvalidInput: no backend has that name.
    """
    token = _chosen.set(_require(name, "name"))
    try:
        yield
    finally:
        _chosen.reset(token)
