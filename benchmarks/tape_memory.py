"""Bytes kept between forward and reverse, and the peak of a whole walk.

`python -m reluxfast.benchmarks.tape_memory --help`. Everything is measured in fresh processes. *Kept* counts what is
alive because of the forward pass alone: for the engine the storages that appear with `explainer.tape(x)`, for autograd
those its graph saves; the allocator's own count of bytes in use stands beside both. *Held* is what the engine goes on
holding after a first call (rearranged weights, buffers), tape or no tape. *Peak* is the high-water mark of the
resident set over one attribution, at two batch sizes: the slope is what one more image costs, the rest (weights, code)
does not depend on the batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch

import reluxfast as rx
from reluxfast.benchmarks import memory, rows, trace
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.fresh import answer, in_fresh_process
from reluxfast.benchmarks.maps.networks import NETWORKS
from reluxfast.benchmarks.maps.problem import MapProblem, make
from reluxfast.benchmarks.maps.providers import PROVIDERS
from reluxfast.benchmarks.options import add_common, add_worker
from reluxfast.benchmarks.progress import Progress
from reluxfast.benchmarks.quiet import quiet_peers

MB = 1e6
KEPT = ("reluxfast", "autograd")
PEAK = {
    "reluxfast": ("reluxfast cpp", "guided_backprop"),
    "autograd": ("autograd", "gradient"),
    "captum": ("captum", "guided_backprop"),
}


def made(name: str, batch: int, size: int | None, tiny: bool, method: str) -> MapProblem:
    """The network called `name` with `batch` images (two at most in tiny mode), to be explained with a method."""
    network = NETWORKS[name]
    axes = {"batch": batch, "size": size or network.size, "dtype": "float32"}
    return make(axes, Conditions(tiny=tiny), network=network, method=method)


def kept_by_engine(problem: MapProblem) -> dict[str, int | None]:
    """Bytes: new storages while a tape lives, the allocator's difference, the tape's own count, what is held anyway."""
    explainer = rx.Explainer(problem.model, problem.x)
    at_start = memory.allocated_bytes()
    explainer.tape(problem.x)  # the first call makes what the engine holds for good
    before, allocated = memory.live_storages(), memory.allocated_bytes()
    tape = explainer.tape(problem.x)
    allocated_now, after = memory.allocated_bytes(), memory.live_storages()
    return {
        "kept": memory.new_bytes(after, before),
        "kept_allocator": trace.difference(allocated_now, allocated),
        "claimed": tape.nbytes,
        "held": trace.difference(allocated, at_start),
    }


def kept_by_autograd(problem: MapProblem) -> dict[str, int | None]:
    """Bytes: storages saved by autograd, and the allocator's difference while the graph lives."""
    kept = memory.saved_by_autograd(problem.model, problem.x)  # the warm-up of the allocator's count as well
    x = problem.x.detach().requires_grad_(True)
    allocated = memory.allocated_bytes()
    output = problem.model(x)
    difference = trace.difference(memory.allocated_bytes(), allocated)
    del output
    return {"kept": kept, "kept_allocator": difference, "claimed": None, "held": None}


def peak_of(problem: MapProblem, provider: str) -> int:
    """Bytes: high-water mark of one attribution over the resident size before the provider was prepared."""
    name, _ = PEAK[provider]
    memory.trim()
    start = memory.resident_bytes()
    prepared = PROVIDERS[name](problem)
    memory.trim()
    memory.reset_high_water()
    with quiet_peers():
        prepared.call()
    return memory.high_water_bytes() - start


def _work(task: dict[str, Any]) -> None:
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    memory.map_large_blocks()
    problem = made(task["case"], task["batch"], task["size"], task["tiny"], PEAK[task["provider"]][1])
    if task["what"] == "peak":
        answer({"peak": peak_of(problem, task["provider"])})
    else:
        answer(kept_by_engine(problem) if task["provider"] == "reluxfast" else kept_by_autograd(problem))


def measure(
    case: str, batch: int, size: int | None, tiny: bool, threads: int | None, progress: Progress
) -> list[dict[str, Any]]:
    """One row per provider; bytes per image, but for the batch-independent part of the peak and what is held."""
    task = {"case": case, "batch": batch, "size": size, "tiny": tiny, "threads": threads}
    found = []
    for provider in PEAK:
        progress.phase(f"{case} {provider}")
        row: dict[str, Any] = {"benchmark": "tape_memory", **task, "provider": provider}
        if provider in KEPT:
            kept = in_fresh_process(__spec__.name, {**task, "what": "kept", "provider": provider})
            row |= {key: None if value is None else value / batch for key, value in kept.items() if key != "held"}
            row["held"] = kept["held"]
            progress.step()
        peaks = []
        for n in (batch, 2 * batch):
            result = in_fresh_process(__spec__.name, {**task, "what": "peak", "provider": provider, "batch": n})
            peaks.append(result["peak"])
            progress.step()
        slope = (peaks[1] - peaks[0]) / batch
        row |= {"peak": slope, "peak_constant": peaks[0] - slope * batch}
        found.append(row | {"environment": rows.environment()})
    return found


def to_text(found: list[dict[str, Any]]) -> str:
    """Table of the rows in MB (10^6 bytes)."""
    header = ("case", "provider", "kept", "by allocator", "own count", "peak", "peak, fixed part", "held")
    keys = ("kept", "kept_allocator", "claimed", "peak", "peak_constant", "held")
    body = [
        (row["case"], row["provider"], *("-" if row.get(k) is None else f"{row[k] / MB:.2f}" for k in keys))
        for row in found
    ]
    return "MB per image (fixed part and held: MB in all)\n" + rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(
        prog="python -m reluxfast.benchmarks.tape_memory",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    p.add_argument("--case", action="append", choices=sorted(NETWORKS), help="repeatable; default: vgg16 and resnet50")
    p.add_argument("--batch", type=int, default=2, help="images; the peak also runs at twice as many")
    p.add_argument("--size", type=int, help="pixels per side; default: the network's own (224; digits 8)")
    add_common(p, "tape_memory")
    add_worker(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Measure, print, store on request."""
    args = parser().parse_args(argv)
    if args.worker:
        _work(json.loads(args.worker))
        return 0
    cases = args.case or ["vgg16", "resnet50"]
    found: list[dict[str, Any]] = []
    with Progress(len(cases) * (len(KEPT) + 2 * len(PEAK)), "tape_memory") as progress:
        for case in cases:
            found += measure(case, args.batch, args.size, args.tiny, args.threads, progress)
    print(to_text(found))
    if args.store:
        rows.store(found, args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
