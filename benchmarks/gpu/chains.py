"""Nanoseconds per evaluation of `mlp_chains` beside a batch of masked inputs: `python -m benchmarks.gpu.chains --help`.

Each backend twice: IEEE float32, and TF32 behind the first layer; masked inputs likewise, where TF32 is in every layer.
Rates count what chains must do, whatever the provider does: per evaluation one column of the first weight and every
further weight, two operations each; they stand beside a large matrix product of the same run and precision, and beside
the error of single marginals against float64.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
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
# Precision -> largest relative error (L2) of marginals: several times that of rounding, far below that of a mistake.
PRECISIONS = {"ieee": 1e-4, "tf32": 2e-2}
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

    def double(self) -> Chains:
        """The same in float64."""
        weights, biases = ([t.double() for t in listed] for listed in (self.weights, self.biases))
        return replace(self, x=self.x.double(), background=self.background.double(), weights=weights, biases=biases)

    def pairs(self, form: str, precision: str) -> Tensor:
        """The pairs (N, G, d, K) by a backend's operator or, if `form` is "masked", by masked inputs."""
        with float32_as(precision):
            if form == "masked":
                return self.masked()
            with ops.backend(form):
                return self.walked(precision == "tf32")

    def walked(self, allow_tf32: bool) -> Tensor:
        """The pairs by the operator."""
        features = self.x.shape[1]
        members, starts = (torch.arange(count, device=self.x.device).int() for count in (features, features + 1))
        chains = (self.x, self.background, self.cycle, self.permutations, members, starts)
        return ops.mlp_chains(*chains, self.weights, self.biases, True, allow_tf32)[0]

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


def check(name: str, device: torch.device, form: str, precision: str) -> float:
    """The relative error (L2) against float64 on fresh random values: no number behind a red gate."""
    torch.manual_seed(0)
    chains = Chains.random(name, 3, 5, device)
    with torch.no_grad():
        got, want = chains.pairs(form, precision), chains.double().masked()
    error, limit = float((got - want).norm() / want.norm()), PRECISIONS[precision]
    if not error <= limit:
        raise AssertionError(f"{form} ({precision}) is {error:.2e} from float64 on {name}, {limit:.0e} allowed")
    return error


def measure(
    name: str, backends: list[str], count: int, pairs: int, device: torch.device, rounds: int, size: int
) -> list[dict[str, Any]]:
    """Rows for masked inputs and for each backend, in each precision: ns per evaluation, gain over masked inputs."""
    forms = [(form, precision) for precision in PRECISIONS for form in ("masked", *backends)]
    errors = {form: check(name, device, *form) for form in forms}
    chains, a = Chains.random(name, count, pairs, device), torch.randn(size, size, device=device)

    def product(precision: str) -> Tensor:
        with float32_as(precision):
            return a @ a

    calls = {form: [lambda form=form: chains.pairs(*form)] for form in forms}
    calls |= {("matmul", p): [lambda p=p: product(p)] for p in PRECISIONS}
    with torch.no_grad():
        ms = interleaved_ms(calls, device, rounds, passes=1)
    found = []
    for form, precision in forms:
        own, stats = ms[form, precision], summarise(ms[form, precision])
        rate = chains.flops() / stats.median / 1e9
        peak = 2.0 * size**3 / summarise(ms["matmul", precision]).median / 1e9
        found.append(
            {
                "benchmark": "chains",
                "network": name,
                "form": form,
                "precision": precision,
                "rows": count,
                "pairs": pairs,
                "median_ms": stats.median,
                "p20_ms": stats.low,
                "p80_ms": stats.high,
                "ns_per_evaluation": 1e6 * stats.median / chains.evaluations(),
                "gain": paired_ratio(ms["masked", precision], own).median,
                "tflops": rate,
                "of_matmul": rate / peak,
                "error": errors[form, precision],
            }
        )
    return found


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    header = (
        "network",
        "form",
        "precision",
        "ms",
        "20-80 %",
        "ns per evaluation",
        "gain",
        "TFLOP/s",
        "of matmul",
        "error",
    )
    body = [
        (
            r["network"],
            r["form"],
            r["precision"],
            f"{r['median_ms']:.3f}",
            f"{r['p20_ms']:.3f}-{r['p80_ms']:.3f}",
            f"{r['ns_per_evaluation']:.3f}",
            f"{r['gain']:.2f}",
            f"{r['tflops']:.2f}",
            f"{r['of_matmul']:.2f}",
            f"{r['error']:.1e}",
        )
        for r in found
    ]
    return rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.chains", description=__doc__)
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument("--backend", action="append", help="repeatable; default: cuda and triton")
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
    device, backends, found = torch.device(args.device), args.backend or ["cuda", "triton"], []
    for name in args.network or NETWORKS:
        found += measure(name, backends, args.rows, args.pairs, device, args.rounds, args.matmul)
    print(to_text(found), flush=True)
    if args.store:
        environment = rows.environment(device)
        rows.store(({**row, "environment": environment} for row in found), args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
