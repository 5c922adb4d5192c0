"""Worker: bytes that `shapley` needs at its worst moment, by way to walk chains and number of pairs."""

from __future__ import annotations

import argparse
import json

import torch
from torch import nn

import reluxfast as rx
from reluxfast.benchmarks import memory
from reluxfast.benchmarks.fresh import answer

# Path -> rows, of which the fewer pairs already fill what is held at once; features; model.
CASES = {
    "mlp": (26, 20, lambda: nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 500))),
    "prefix": (4, 64, lambda: nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 2))),
    "function": (34, 66, lambda: lambda batch: batch[:, :8].sin() * batch[:, 8:16]),
}


def peaks(path: str, pairs: list[int]) -> list[int]:
    """High-water mark of the resident set over its size before, one call after the other."""
    count, features, build = CASES[path]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    f, x = build(), torch.randn(count, features)
    found = []
    # The first call makes what is kept for good.
    for number in (pairs[0], *pairs):
        memory.trim()
        start = memory.resident_bytes()
        memory.reset_high_water()
        result = rx.shapley(f, x, estimator="permutation", n_evaluations=2 * (features - 1) * number + 1)
        found.append(memory.high_water_bytes() - start)
        if result.options["path"] != path or not bool((result.options["pairs"] == number).all()):
            raise AssertionError(f"{number} pairs on path {path} came out as {result.options}")
    return found[1:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=json.loads, required=True)
    memory.map_large_blocks()
    pairs = parser.parse_args().worker["pairs"]
    answer({path: peaks(path, pairs) for path in CASES})
