"""Ours in the place of Captum's classes, for code that cannot be edited."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

from reluxfast.extras import need

_lock = threading.Lock()


class Patch:
    """Names that were replaced; `undo` puts them back, and so does the end of a `with` block."""

    def __init__(self, replaced: list[tuple[ModuleType, str, Any]]):
        self._replaced = replaced

    def undo(self) -> None:
        """Puts back what was there, once."""
        with _lock:
            while self._replaced:
                module, name, value = self._replaced.pop()
                setattr(module, name, value)

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def patch(*modules: ModuleType) -> Patch:
    """Replaces Captum's classes by ours inside `captum.attr`, for the whole process, until it is undone.

    Code that looks the names up there from then on (`captum.attr.LRP(model)`, `from captum.attr import LRP`) gets ours.

    Args:
        *modules: others that took Captum's names before (`from captum.attr import LRP` at their top): they are
            replaced there as well.

    Returns:
        what undoes it: `with patch(): ...`, or `patch().undo()` later.

    Raises:
        MissingExtra: Captum is not installed.
    """
    attr = need("captum.attr", "captum", "captum", "patching captum.attr")
    from reluxfast.compat import captum as ours

    with _lock:
        # Bases are Captum's own already.
        theirs = {id(getattr(attr, name)): getattr(ours, name) for name in ours.__all__ if hasattr(attr, name)}
        replaced: list[tuple[ModuleType, str, Any]] = []
        for module in (attr, *modules):
            for name, value in list(vars(module).items()):
                if id(value) in theirs and theirs[id(value)] is not value:
                    replaced.append((module, name, value))
                    setattr(module, name, theirs[id(value)])
    return Patch(replaced)
