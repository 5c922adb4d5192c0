"""Whether Triton is installed, and which tensors its kernels take, found out without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys

OLDEST = (3, 6)


def version() -> str | None:
    """Triton's version, "unknown" for an installation without metadata, None if it is not installed."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _missing_reason() -> str | None:
    found = version()
    if found is None:
        return "triton is not installed"
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST:
        return f"triton {found} is older than {'.'.join(map(str, OLDEST))}"
    return None


MISSING_REASON: str | None = _missing_reason()


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, which takes CPU tensors too.

    TRITON_INTERPRET decides when the kernels are imported, at their first use; later changes have no effect.
    """
    kernels = sys.modules.get("reluxfast.kernels.common")
    if kernels is not None:
        return kernels.INTERPRETED.value
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")
