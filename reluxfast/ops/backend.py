"""Which implementation answers: "auto" (the dispatcher's choice), "reference", "cpp", "triton" or "cuda".

The environment variable RELUXFAST_BACKEND gives the default, `with backend(name):` overrides it for a block; each
thread and each asynchronous task has its own choice. A backend asked for by name that is not there is an error; only
"auto" falls back to the reference, and says so once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from reluxfast.errors import BackendUnavailable, InvalidInput
from reluxfast.ops import native

BACKENDS = ("auto", "reference", "cpp", "triton", "cuda")
_REMEDIES = {
    "cpp": "Install a C++ compiler and reinstall reluxfast from source, or use backend 'reference'",
    "triton": "Use backend 'cpp' or 'reference'",
    "cuda": "Use backend 'cpp' or 'reference'",
}
_chosen: ContextVar[str | None] = ContextVar("reluxfast_backend", default=None)


def available_backends() -> dict[str, str | None]:
    """Each backend's name with None if it can be used, else the reason why not."""
    return {
        "reference": None,
        "cpp": native.MISSING_REASON,
        "triton": "this version has no Triton kernels yet",
        "cuda": "this version has no CUDA kernels yet",
    }


def _require(name: str, argument: str) -> str:
    if name not in BACKENDS:
        raise InvalidInput(argument, f"must be one of {', '.join(BACKENDS)}", repr(name))
    reason = available_backends().get(name)
    if reason is not None:
        raise BackendUnavailable(name, reason, _REMEDIES[name])
    return name


@cache
def _default() -> str:
    return _require(os.environ.get("RELUXFAST_BACKEND") or "auto", "RELUXFAST_BACKEND")


@cache
def _warn_about_fallback(reason: str) -> None:
    warnings.warn(
        f"reluxfast computes with its slower pure-torch reference: {reason}. {_REMEDIES['cpp']} to silence this",
        UserWarning,
        stacklevel=3,
    )


def active_backend() -> str:
    """Name of the backend in force here: that of the innermost `backend` block, else RELUXFAST_BACKEND, else "auto".

    Raises:
        BackendUnavailable: RELUXFAST_BACKEND names a backend that is not there.
        InvalidInput: RELUXFAST_BACKEND is no backend's name.
    """
    name = _chosen.get() or _default()
    if name == "auto" and native.MISSING_REASON is not None:
        _warn_about_fallback(native.MISSING_REASON)
    return name


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
