"""Loads the compiled kernels once, at import, and remembers why they are missing if they are."""

from __future__ import annotations

import ctypes
import importlib
from functools import cache

# The library's symbols come from libtorch, which must be in the process first.
import torch  # noqa: F401


def _load() -> str | None:
    try:
        importlib.import_module("reluxfast._C")
    except ModuleNotFoundError:
        return "reluxfast was installed without its compiled kernels"
    except (ImportError, OSError) as error:
        return f"the compiled kernels did not load: {error}"
    return None


MISSING_REASON: str | None = _load()


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(importlib.import_module("reluxfast._C").__file__)


def cpu_isa() -> str | None:
    """The instruction set of the CPU kernels, "baseline", "avx2" or "avx512"; None where there are no kernels.

    The environment variable RELUXFAST_CPU_ISA, read once, may name a lesser one than the machine has.
    """
    if MISSING_REASON is not None:
        return None
    answer = _library().reluxfast_cpu_isa
    answer.restype = ctypes.c_char_p
    return answer().decode()


@cache
def has_cuda() -> bool:
    """Whether the compiled kernels include those for CUDA tensors."""
    answer = None if MISSING_REASON is not None else getattr(_library(), "reluxfast_has_cuda", None)
    return answer is not None and answer() != 0
