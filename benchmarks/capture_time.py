"""Time to capture a model, and of a one-off attribution: `python -m reluxfast.benchmarks.capture_time --help`.

Each measurement runs in fresh processes. *cold*: the first call of the process, after the imports; *warm*: the same
call for another model object of the same kind; *cached*: once more for that very model. `torch.export` alone, with a
dynamic batch as the engine asks for it, stands beside the capture.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import reluxfast as rx
from reluxfast.benchmarks import rows
from reluxfast.benchmarks.fresh import answer, in_fresh_process
from reluxfast.benchmarks.maps.networks import NETWORKS, build_model, mlp
from reluxfast.benchmarks.maps.weights import images, trained_like_
from reluxfast.benchmarks.options import add_common, add_worker
from reluxfast.benchmarks.progress import Progress
from reluxfast.benchmarks.timing import summarise


def _example(name: str, tiny: bool) -> tuple[nn.Module, Tensor]:
    if name == "mlp":
        return trained_like_(mlp(), torch.randn(64, 30)), torch.randn(4, 30)
    network = NETWORKS[name]
    size = network.tiny_size if tiny else network.size
    return build_model(network, size, tiny=tiny), images(2, network.channels, size)


def _export(model: nn.Module, x: Tensor) -> object:
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


ACTIONS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "capture": lambda model, x: rx.Explainer(model, x),
    "torch.export": _export,
    "attribute": lambda model, x: rx.attribute(model, x, target=0),
}
TASKS = (
    ("resnet50", "capture"),
    ("resnet50", "torch.export"),
    ("vgg16", "capture"),
    ("vgg16", "torch.export"),
    ("mlp", "capture"),
    ("mlp", "torch.export"),
    ("mlp", "attribute"),
)


def _work(task: dict[str, Any]) -> None:
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    action = ACTIONS[task["action"]]
    seconds = {}
    model, x = _example(task["model"], task["tiny"])
    seconds["cold"] = _time(action, model, x)
    model, x = _example(task["model"], task["tiny"])
    seconds["warm"] = _time(action, model, x)
    if task["action"] == "attribute":
        seconds["cached"] = _time(action, model, x)
    answer(seconds)


def _time(action: Callable[[nn.Module, Tensor], object], model: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    action(model, x)
    return time.perf_counter() - start


def to_text(found: list[dict[str, Any]]) -> str:
    """Table of the rows in seconds: median (20-80 %)."""
    cells = []
    for row in found:
        times = (row.get(phase) for phase in ("cold", "warm", "cached"))
        cells.append((row["model"], row["action"], *("-" if t is None else _with_band(t) for t in times)))
    return "seconds, median (20-80 %)\n" + rows.table(("model", "action", "cold", "warm", "cached"), cells)


def _with_band(t: dict[str, float]) -> str:
    return f"{t['median']:.3f} ({t['p20']:.3f}-{t['p80']:.3f})"


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(
        prog="python -m reluxfast.benchmarks.capture_time",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    names = sorted({model for model, _ in TASKS})
    p.add_argument("--model", action="append", choices=names, help="repeatable; default: all")
    p.add_argument("--rounds", type=int, default=3, help="fresh processes per row; default: %(default)s")
    add_common(p, "capture_time")
    add_worker(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Measure (interleaved: every task once per round), print, store on request."""
    args = parser().parse_args(argv)
    if args.worker:
        _work(json.loads(args.worker))
        return 0
    tasks = [(model, action) for model, action in TASKS if not args.model or model in args.model]
    samples: dict[tuple[str, str], dict[str, list[float]]] = {task: {} for task in tasks}
    with Progress(args.rounds * len(tasks), "capture_time") as progress:
        for _ in range(args.rounds):
            for model, action in tasks:
                progress.phase(f"{model} {action}")
                task = {"model": model, "action": action, "tiny": args.tiny, "threads": args.threads}
                for phase, seconds in in_fresh_process(__spec__.name, task).items():
                    samples[model, action].setdefault(phase, []).append(seconds)
                progress.step()
    found = [_row(model, action, phases, args) for (model, action), phases in samples.items()]
    print(to_text(found))
    if args.store:
        rows.store(found, args.store)
    return 0


def _row(model: str, action: str, phases: dict[str, list[float]], args: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"benchmark": "capture_time", "model": model, "action": action, "tiny": args.tiny}
    for phase, seconds in phases.items():
        stats = summarise(seconds)
        row[phase] = {"median": stats.median, "p20": stats.low, "p80": stats.high, "rounds": stats.count}
    return row | {"environment": rows.environment()}


if __name__ == "__main__":
    sys.exit(main())
