"""Shapley values of image patches beside bare forward passes: `python -m benchmarks.shapley_images`.

Masking is to cost next to nothing: sampled orders of 7 x 7 patches are timed beside batched forward passes of the same
network on as many images, by torch in channels-last (the fastest of some batch sizes) and by the engine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import reluxfast as rx
from benchmarks import rows
from benchmarks.cases import CASES, make_problem
from benchmarks.options import add_common
from benchmarks.progress import Progress
from benchmarks.timing import interleave, paired_ratio, summarise

BASE = "reluxfast cpp"
_PER_SIDE = 7
_BATCHES = (4, 8, 16, 32)


def measure(case: str, pairs: int, rounds: int, tiny: bool) -> list[dict[str, Any]]:
    """One JSON-ready dict for the engine and each kind of bare forward passes."""
    problem = make_problem(CASES[case], 1, tiny=tiny, functional=True, device="cpu")
    x = problem.x
    explainer = rx.Explainer(problem.model, x)
    players = rx.patches(-(-x.shape[-1] // _PER_SIDE))
    inner = 2 * (players.of(x).unique().numel() - 1)
    options = {"players": players, "estimator": "permutation", "n_evaluations": pairs * inner + 1}
    images = pairs * inner + 2  # x and the baseline as well
    batch = torch.randn(images, *x.shape[1:]).contiguous(memory_format=torch.channels_last)
    model = problem.model.to(memory_format=torch.channels_last)
    engine = explainer.captured.engine()

    def by_torch(given: torch.Tensor, size: int) -> None:
        with torch.no_grad():
            for some in given.split(size):
                model(some)

    def by_engine() -> None:
        for some in batch.split(found.options["batch_size"]):
            engine.outputs([some], True)

    with Progress(2 + rounds * 3, f"{case}, {images} images") as progress:
        progress.phase("batch sizes of the bare forward passes")
        best = min((_seconds(lambda size=size: by_torch(batch[:64], size)), size) for size in _BATCHES)[1]
        progress.step()
        found = explainer.attribute(x, problem.target, "shapley", **options)
        progress.step()
        calls: dict[str, Callable[[], Any]] = {
            BASE: lambda: explainer.attribute(x, problem.target, "shapley", **options),
            "torch forward": lambda: by_torch(batch, best),
            "engine forward": by_engine,
        }
        progress.phase(f"timing, {rounds} rounds")
        seconds = interleave(calls, rounds, tick=progress.step)
    common = {
        "benchmark": "shapley_images",
        "case": case,
        "tiny": tiny,
        "size": x.shape[-1],
        "players": found.values.shape[-1],
        "images": images,
        "torch_batch": best,
        "engine_batch": found.options["batch_size"],
        "environment": rows.environment(),
    }
    made = []
    for name, sample in seconds.items():
        stats = summarise(sample)
        row = {"provider": name, "images_per_s": images / stats.median} | stats.in_ms()
        row["base_over"] = paired_ratio(seconds[BASE], sample).plain()
        made.append(common | row)
    return made


def _seconds(call: Callable[[], None]) -> float:
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows of one case as a table."""
    first = found[0]
    env = first["environment"]
    title = (
        f"{first['case']} at {first['size']} x {first['size']}, {first['players']} patches, {first['images']} images, "
        f"batches of {first['engine_batch']} (torch {first['torch_batch']})\n{env['cpu']}, {env['threads']} thread(s), "
        f"commit {env['commit'] or 'unknown'}"
    )
    body = [
        [
            row["provider"],
            f"{row['median_ms']:.0f}",
            f"{row['p20_ms']:.0f}-{row['p80_ms']:.0f}",
            f"{row['images_per_s']:.1f}",
            f"{row['base_over']['median']:.2f}x",
        ]
        for row in found
    ]
    return f"{title}\n{rows.table(('provider', 'median ms', '20-80 %', 'images/s', BASE + ' /'), body)}"


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.shapley_images", description=__doc__.splitlines()[0])
    p.add_argument("--case", default="resnet18", choices=sorted(CASES), help="network; default: %(default)s")
    p.add_argument("--pairs", type=int, default=4, help="antithetic pairs of orders; default: %(default)s")
    p.add_argument("--rounds", type=int, default=3, help="times every provider runs; default: %(default)s")
    add_common(p, "shapley_images")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run, print, store on request."""
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    found = measure(args.case, args.pairs, args.rounds, args.tiny)
    print(to_text(found) + "\n", flush=True)
    if args.store:
        rows.store(found, args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
