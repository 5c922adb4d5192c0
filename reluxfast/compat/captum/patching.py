"""Ours in the place of Captum's classes, for code that cannot be edited."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

from reluxfast.errors import InvalidInput
from reluxfast.extras import need

_lock = threading.Lock()
# (id of a module, name) -> the module, what it had, and how many patches stand there.
_replaced: dict[tuple[int, str], list[Any]] = {}


class Patch:
    """Names that were replaced; `undo` or the end of a `with` block puts them back, once no other patch is left."""

    def __init__(self, names: list[tuple[int, str]]):
        self._names = names

    def undo(self) -> None:
        """Takes this patch back; a second time nothing happens."""
        with _lock:
            while self._names:
                key = self._names.pop()
                entry = _replaced[key]
                entry[2] -= 1
                if not entry[2]:
                    del _replaced[key]
                    setattr(entry[0], key[1], entry[1])

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
        InvalidInput: what is given is no module.
    """
    attr = need("captum.attr", "captum", "captum", "patching captum.attr")
    from reluxfast.compat import captum as ours

    for module in modules:
        if not isinstance(module, ModuleType):
            raise InvalidInput("modules", "must be imported modules", repr(module), "Pass the module, not its name")
    with _lock:
        # Bases are Captum's own already.
        names = [name for name in ours.__all__ if hasattr(attr, name)]
        theirs = {id(_original(attr, name)): getattr(ours, name) for name in names}
        found = []
        for module in dict.fromkeys((attr, *modules)):
            for name in list(vars(module)):
                own = theirs.get(id(_original(module, name)))
                if own is not None and own is not _original(module, name):
                    entry = _replaced.setdefault((id(module), name), [module, getattr(module, name), 0])
                    entry[2] += 1
                    setattr(module, name, own)
                    found.append((id(module), name))
    return Patch(found)


def _original(module: ModuleType, name: str) -> Any:
    """What a module has under a name, but for patches."""
    entry = _replaced.get((id(module), name))
    return getattr(module, name) if entry is None else entry[1]
