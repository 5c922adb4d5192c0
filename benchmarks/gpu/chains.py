"""Nanoseconds per evaluation of `mlp_chains` beside a batch of masked inputs: `python -m benchmarks.gpu.chains --help`.

Both are float32 without TF32. Rates count what chains must do, whatever the provider does: per evaluation one column
of the first weight and every further weight, two operations each; they stand beside a large matrix product of the same
run.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import rows
from benchmarks.gpu.clock import interleaved_ms
from benchmarks.precision import float32_as
from benchmarks.timing import paired_ratio, summarise
from reluxfast import ops

# Name -> features, each a player of its own, and the layers' widths.
NETWORKS = {
    "30-128-64-1": (30, (128, 64, 1)),
    "30-128-64-10": (30, (128, 64, 10)),
    "100-256-128-1": (100, (256, 128, 1)),
    "784-256-128-10": (784, (256, 128, 10)),
}
_BACKGROUND = 32
# Elements of masked inputs in one batch.
_BATCH = 1 << 26


@dataclass(frozen=True)
class Chains:
    """Antithetic chains of one network, and what evaluates them.

    Attributes:
        x, background: (N, d), (B, d).
        cycle, permutations: (N, G), (N, G, d).
        weights, biases: of each layer.
    """

    x: Tensor
    background: Tensor
    cycle: Tensor
    permutations: Tensor
    weights: list[Tensor]
    biases: list[Tensor]

    @staticmethod
    def random(name: str, count: int, pairs: int, device: torch.device) -> Chains:
        """Normal numbers, weights of usual size, a permutation and a background row for each pair."""
        features, widths = NETWORKS[name]

        def values(*size: int) -> Tensor:
            return torch.randn(size, device=device)

        layers = list(zip(widths, (features, *widths), strict=False))
        return Chains(
            values(count, features),
            values(_BACKGROUND, features),
            torch.randint(_BACKGROUND, (count, pairs), device=device).int(),
            values(count, pairs, features).argsort(-1).int(),
            [values(*size) * (2 / size[1]) ** 0.5 for size in layers],
            [values(width) for width in widths],
        )

    def evaluations(self) -> int:
        """Inputs between background and x, of both chains of every pair; the ends are not counted."""
        return 2 * self.cycle.numel() * (self.x.shape[1] - 1)

    def flops(self) -> float:
        """Multiplications and additions that chains must do."""
        return 2.0 * self.evaluations() * (self.weights[0].shape[0] + sum(w.numel() for w in self.weights[1:]))

    def walked(self) -> Tensor:
        """The pairs (N, G, d, K) by the operator."""
        features = self.x.shape[1]
        members, starts = (torch.arange(count, device=self.x.device).int() for count in (features, features + 1))
        network = (self.weights, self.biases)
        return ops.mlp_chains(self.x, self.background, self.cycle, self.permutations, members, starts, *network)[0]

    def masked(self) -> Tensor:
        """The same by masked inputs in large batches."""
        features = self.x.shape[1]
        x = self.x.repeat_interleave(self.cycle.shape[1], 0)
        b = self.background[self.cycle.flatten()]
        orders = self.permutations.flatten(0, 1).long()
        parts = (t.split(max(1, _BATCH // (2 * features * features))) for t in (x, b, orders))
        found = [self._masked(*part) for part in zip(*parts, strict=True)]
        return torch.cat(found).view(*self.permutations.shape, -1)

    def _masked(self, x: Tensor, b: Tensor, orders: Tensor) -> Tensor:
        length = torch.arange(1, x.shape[1], device=x.device)
        present = orders.argsort(-1)[:, None] < length[:, None]
        marginals = []
        for first, second in ((x, b), (b, x)):
            inner = self._network(torch.where(present, first[:, None], second[:, None]))
            ends = (self._network(end)[:, None] for end in (second, first))
            marginals.append(torch.cat([next(ends), inner, next(ends)], 1).diff(dim=1))
        mean = 0.5 * (marginals[0] - marginals[1])
        return torch.empty_like(mean).scatter_(1, orders[..., None].expand_as(mean), mean)

    def _network(self, z: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = torch.nn.functional.linear(z.relu_() if layer else z, weight, bias)
        return z


def check(name: str, device: torch.device, backend: str) -> None:
    """The operator against masked inputs on fresh random values: no number behind a red gate."""
    torch.manual_seed(0)
    chains = Chains.random(name, 3, 5, device)
    with ops.backend(backend), float32_as("ieee"), torch.no_grad():
        got, want = chains.walked(), chains.masked()
    worst, limit = float((got - want).abs().max()), 1e-4 * float(want.abs().max())
    if not worst <= limit:
        raise AssertionError(f"backend {backend} is {worst:.2e} from masked inputs on {name}, {limit:.2e} allowed")


def measure(
    name: str, backends: list[str], count: int, pairs: int, device: torch.device, rounds: int, size: int
) -> list[dict[str, Any]]:
    """One row for each backend, ns per evaluation and the gain over masked inputs, and one for these."""
    chains, a = Chains.random(name, count, pairs, device), torch.randn(size, size, device=device)

    def walked(backend: str) -> Tensor:
        with ops.backend(backend):
            return chains.walked()

    calls = {"masked": [chains.masked]} | {b: [lambda b=b: walked(b)] for b in backends}
    with float32_as("ieee"), torch.no_grad():
        ms = interleaved_ms(calls | {"matmul": [lambda: a @ a]}, device, rounds, passes=1)
    peak = 2.0 * size**3 / summarise(ms["matmul"]).median / 1e9
    found = []
    for form in calls:
        stats = summarise(ms[form])
        rate = chains.flops() / stats.median / 1e9
        found.append(
            {
                "benchmark": "chains",
                "network": name,
                "form": form,
                "rows": count,
                "pairs": pairs,
                "median_ms": stats.median,
                "p20_ms": stats.low,
                "p80_ms": stats.high,
                "ns_per_evaluation": 1e6 * stats.median / chains.evaluations(),
                "gain": paired_ratio(ms["masked"], ms[form]).median,
                "tflops": rate,
                "of_matmul": rate / peak,
            }
        )
    return found


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    header = ("network", "form", "ms", "20-80 %", "ns per evaluation", "gain", "TFLOP/s", "of matmul")
    body = [
        (
            r["network"],
            r["form"],
            f"{r['median_ms']:.3f}",
            f"{r['p20_ms']:.3f}-{r['p80_ms']:.3f}",
            f"{r['ns_per_evaluation']:.3f}",
            f"{r['gain']:.2f}",
            f"{r['tflops']:.2f}",
            f"{r['of_matmul']:.2f}",
        )
        for r in found
    ]
    return rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.chains", description=__doc__)
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument("--backend", action="append", help="repeatable; default: triton")
    p.add_argument("--network", action="append", choices=list(NETWORKS), help="repeatable; default: all")
    p.add_argument("--rows", type=int, default=128, help="default: %(default)s")
    p.add_argument("--pairs", type=int, default=64, help="of chains for each row; default: %(default)s")
    p.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    p.add_argument("--matmul", type=int, default=8192, help="size of the matrix product; default: %(default)s")
    p.add_argument("--store", type=Path, help="append the rows to this JSON-lines file")
    return p


def main(argv: list[str] | None = None) -> int:
    """Check, measure, print, store on request."""
    args = parser().parse_args(argv)
    device, backends, found = torch.device(args.device), args.backend or ["triton"], []
    for name in args.network or NETWORKS:
        for backend in backends:
            check(name, device, backend)
        found += measure(name, backends, args.rows, args.pairs, device, args.rounds, args.matmul)
    print(to_text(found), flush=True)
    if args.store:
        environment = rows.environment(device)
        rows.store(({**row, "environment": environment} for row in found), args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
