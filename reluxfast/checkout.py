"""Finds the packages that lie beside reluxfast/ in a checkout that is used without being installed."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_BESIDE = {"reluxfast.kernels": "kernels", "reluxfast.benchmarks": "benchmarks"}


class _Checkout(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in _BESIDE or not (_ROOT / "setup.py").is_file():
            return None
        folder = _ROOT / _BESIDE[name]
        return spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])


def serve_checkout() -> None:
    """Lets these packages be found; asked first, so that no other installation's come into a checkout."""
    if not any(isinstance(finder, _Checkout) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Checkout())
