"""How much a process grows while adapters are called again and again.

python -m tests.compat.growth NAME ...     # prints MB from the 20th to the 200th call of each
"""

from __future__ import annotations

import gc
import sys

import torch

from tests.compat.calls import ADAPTERS

FIRST, LAST = 20, 200


def resident() -> float:
    """Resident set in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def growth(name: str) -> float:
    """MB that are added between the 20th and the 200th call, each with an attributor of its own."""
    adapter = ADAPTERS[name]
    model, x = adapter.model(), adapter.inputs()
    start = 0.0
    for number in range(1, LAST + 1):
        adapter.make(model)(x)
        if number in (FIRST, LAST):
            gc.collect()
            start, grown = resident(), resident() - start
    return grown


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or list(ADAPTERS):
        print(f"{growth(name):.2f} MB {name}", flush=True)
