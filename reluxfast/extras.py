"""Packages that only some commands need: imported where used, and named when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from reluxfast.errors import ReluxfastError


class MissingExtra(ReluxfastError, ImportError):
    """An optional package is not installed.

    Args:
        package: its name in the package index.
        extra: the extra of reluxfast that brings it.
        purpose: what needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str):
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'reluxfast[{extra}]'")


def need(module: str, package: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise MissingExtra naming what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(package, extra, purpose) from error
