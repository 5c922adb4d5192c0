"""How much a process grows while adapters are called again and again.

python -m tests.compat.growth NAME ...     # prints MB from the 20th to the 200th call of each, and who holds its model
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import weakref

import torch

from tests.compat.calls import ADAPTERS

FIRST, LAST = 20, 200


def resident() -> float:
    """Resident set in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def growth(name: str) -> tuple[float, bool]:
    """MB that are added between the 20th and the 200th call, each with an attributor of its own; and whether the model
    is gone when nobody else holds it."""
    adapter = ADAPTERS[name]
    model, x = adapter.model(), adapter.inputs()
    start = 0.0
    for number in range(1, LAST + 1):
        adapter.make(model)(x)
        if number in (FIRST, LAST):
            gc.collect()
            start, grown = resident(), resident() - start
    gone = weakref.ref(model)
    del model
    gc.collect()
    return grown, gone() is None


if __name__ == "__main__":
    torch.set_num_threads(1)
    with contextlib.suppress(ImportError):
        importlib.import_module("shap")  # what its import holds from the call it happens in is its own affair
    for name in sys.argv[1:] or list(ADAPTERS):
        grown, gone = growth(name)
        print(f"{grown:.2f} MB, model {'gone' if gone else 'held'}: {name}", flush=True)
