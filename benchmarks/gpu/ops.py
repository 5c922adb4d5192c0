"""GB/s of every op against a copy in the same run: `python -m benchmarks.gpu.ops --help`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import rows
from benchmarks.gpu.clock import interleaved_ms, sets_for
from benchmarks.timing import paired_ratio, summarise
from reluxfast import ops

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What an op must reach of the copy's bandwidth to be near the machine's limit.
BAR = 0.85
_POOLS = {"2x2/2": ([2, 2], [2, 2], [0, 0], [1, 1]), "3x3/2": ([3, 3], [2, 2], [1, 1], [1, 1])}


@dataclass(frozen=True)
class Work:
    """One op on one shape.

    Attributes:
        name: op and variant.
        make: () -> a call on buffers of its own.
        moved: bytes that a call must read and write, each once.
    """

    name: str
    make: Callable[[], Callable[[], Any]]
    moved: int


def works(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Every op on channels-last tensors (N, C, H, W): the layout the engine uses."""

    def values() -> Tensor:
        return torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)

    n, c, h, w = shape
    count = n * c * h * w
    whole, bits = count * dtype.itemsize, count // 8

    def relu_pack(residual: bool, in_place: bool) -> Callable[[], Any]:
        x, bias, other = values(), torch.randn(c, device=device).to(dtype), values() if residual else None
        op = ops.relu_pack_ if in_place else ops.relu_pack
        return lambda: op(x, bias, other)

    def gate(mode: int, skip: bool, in_place: bool) -> Callable[[], Any]:
        g, other = values(), values() if skip else None
        mask = ops.relu_pack(values())[1] if mode & 1 else None
        op = ops.gate_ if in_place else ops.gate
        return lambda: op(g, mask, other, mode)

    yield Work("relu_pack bias", lambda: relu_pack(False, False), 2 * whole + bits)
    yield Work("relu_pack_ bias", lambda: relu_pack(False, True), 2 * whole + bits)
    yield Work("relu_pack_ bias residual", lambda: relu_pack(True, True), 3 * whole + bits)
    yield Work("gate gradient", lambda: gate(1, False, False), 2 * whole + bits)
    yield Work("gate_ guided", lambda: gate(3, False, True), 2 * whole + bits)
    yield Work("gate_ guided skip", lambda: gate(3, True, True), 3 * whole + bits)
    yield Work("gate_ deconvnet", lambda: gate(2, False, True), 2 * whole)

    def soft_gate_pack(two: bool, bound: bool, quantise: bool) -> Callable[[], Any]:
        z, d = values(), values()
        factors, branches = ((0.0, 1.0, 1.0, -1.0), (0, 0)) if two else ((0.0, 1.0), (0,))
        lo = 0.0 if bound else -math.inf
        out = [torch.empty_like(z, dtype=torch.uint8 if quantise else dtype) for _ in branches]
        return lambda: ops.soft_gate_pack_(z, d, factors=factors, branches=branches, lo=lo, out=out)

    def soft_gate(skip: bool, quantised: bool) -> Callable[[], Any]:
        g, q, other = values(), values(), values() if skip else None
        q = q.to(torch.uint8) if quantised else q
        return lambda: ops.soft_gate_(g, q, other)

    # Without bounds z holds v already, and is only read.
    yield Work("soft_gate_pack_", lambda: soft_gate_pack(False, False, False), 3 * whole)
    yield Work("soft_gate_pack_ relu", lambda: soft_gate_pack(False, True, False), 4 * whole)
    yield Work("soft_gate_pack_ relu bytes", lambda: soft_gate_pack(False, True, True), 3 * whole + count)
    yield Work("soft_gate_pack_ two gates", lambda: soft_gate_pack(True, False, False), 4 * whole)
    yield Work("soft_gate_", lambda: soft_gate(False, False), 3 * whole)
    yield Work("soft_gate_ skip", lambda: soft_gate(True, False), 4 * whole)
    yield Work("soft_gate_ bytes", lambda: soft_gate(False, True), 2 * whole + count)

    inputs, d = max(1, n // 8), count // n

    def coalitions(labels: Tensor, players: int, source: torch.dtype) -> Callable[[], Any]:
        x, background = (torch.randn(inputs, d, device=device).to(source) for _ in range(2))
        ranks = torch.stack([torch.randperm(players, device=device) for _ in range(inputs)]).int()
        jobs = [[m % inputs] * 3 + [players * m // n] for m in range(n)]
        jobs = torch.tensor(jobs, dtype=torch.int32, device=device)
        batch = [torch.empty(n, d, dtype=dtype, device=device)]

        def write() -> Tensor:
            ops.write_coalitions_(batch[0], x, background, labels, ranks, jobs)
            return batch[0]

        return write

    # Players are squares of 16 x 16 pixels, or single elements; each input has an order of its own.
    column = torch.arange(w, device=device) // 16
    square = (torch.arange(h, device=device) // 16)[:, None] * (int(column[-1]) + 1) + column
    squares = square.reshape(-1).repeat_interleave(c).int()
    variants = {"squares": (squares, int(square.max()) + 1, dtype)}
    variants["elements"] = (torch.arange(d, device=device).int(), d, dtype)
    if dtype != torch.float32:
        variants["squares of float32"] = (*variants["squares"][:2], torch.float32)
    for name, variant in variants.items():
        read = 2 * inputs * d * variant[2].itemsize + 4 * (d + inputs * variant[1] + 4 * n)
        yield Work(f"write_coalitions_ {name}", lambda variant=variant: coalitions(*variant), whole + read)
    for name, pool in _POOLS.items():
        y, winner, mask = ops.max_pool_pack(values(), *pool, relu=True)
        pooled = y.numel() * dtype.itemsize + winner.numel() + mask.numel()
        yield Work(f"max_pool_pack {name}", lambda pool=pool: _pack(values(), pool), whole + pooled)
        yield Work(f"max_pool_scatter {name}", lambda pool=pool: _scatter(values(), pool, (h, w)), whole + pooled)


def _pack(x: Tensor, pool: tuple) -> Callable[[], Any]:
    return lambda: ops.max_pool_pack(x, *pool, relu=True)


def _scatter(x: Tensor, pool: tuple, spatial: tuple[int, int]) -> Callable[[], Any]:
    y, winner, mask = ops.max_pool_pack(x, *pool, relu=True)
    g = torch.randn_like(y)
    return lambda: ops.max_pool_scatter(g, winner, mask, spatial, *pool, mode=3)


def _soft(z: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """v and the gate of z⁺ / (z⁺ + |d|), as it is and in bytes."""
    v, q, _ = ops.soft_gate_pack(z, d.abs(), factors=(1.0, 1.0), branches=(1,), lo=0.0)
    _, byte, _ = ops.soft_gate_pack(z, d.abs(), factors=(1.0, 1.0), branches=(1,), lo=0.0, quantise=True)
    return v, q, byte


def _coalitions(x: Tensor, background: Tensor) -> Tensor:
    """Rows of x whose players, three elements each, are present in alternation."""
    x, background = (t.flatten(1).contiguous() for t in (x, background))
    labels = torch.arange(x.shape[1], device=x.device) // 3
    ranks = (torch.arange(int(labels[-1]) + 1, device=x.device) % 2)[None]
    jobs = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 1]], device=x.device)
    out = torch.empty(2, x.shape[1], dtype=x.dtype, device=x.device)
    ops.write_coalitions_(out, x, background, labels.int(), ranks.int(), jobs.int())
    return out


def measure(backend: str, shape: tuple[int, int, int, int], dtype: str, device: torch.device, rounds: int) -> list:
    """One row per op: ms, GB/s, and the share of a copy's bandwidth, measured in turns with it."""
    found = []
    with ops.backend(backend), torch.no_grad():
        for work in works(shape, DTYPES[dtype], device):
            sets = sets_for(work.moved)
            copies = [torch.randn(work.moved // 8, device=device) for _ in range(2 * sets)]
            calls = {
                "copy": [lambda a=a, b=b: b.copy_(a) for a, b in zip(copies[::2], copies[1::2], strict=True)],
                "op": [work.make() for _ in range(sets)],
            }
            ms = interleaved_ms(calls, device, rounds)
            op = summarise(ms["op"])
            found.append(
                {
                    "benchmark": "ops",
                    "op": work.name,
                    "backend": backend,
                    "dtype": dtype,
                    "shape": list(shape),
                    "bytes": work.moved,
                    "median_ms": op.median,
                    "p20_ms": op.low,
                    "p80_ms": op.high,
                    "gb_per_s": work.moved / op.median / 1e6,
                    "copy_gb_per_s": 8 * (work.moved // 8) / summarise(ms["copy"]).median / 1e6,
                    "of_copy": paired_ratio(ms["copy"], ms["op"]).median,
                }
            )
            del calls, copies
    return found


def check(shape: tuple[int, int, int, int], dtype: str, device: torch.device, backend: str) -> None:
    """Every op on fresh random values against the reference: no number behind a red gate."""
    pool = _POOLS["3x3/2"]
    torch.manual_seed(0)
    x, r = (torch.randn(shape, device=device).to(DTYPES[dtype]) for _ in range(2))
    x = x.contiguous(memory_format=torch.channels_last)
    results = []
    for name in (backend, "reference"):
        with ops.backend(name), torch.no_grad():
            y, mask = ops.relu_pack(x, r[0, :, 0, 0].contiguous(), r)
            p, winner, bits = ops.max_pool_pack(x, *pool, relu=True)
            back = ops.max_pool_scatter(p - 0.5, winner, bits, shape[2:], *pool, mode=3)
            v, q, byte = _soft(x, r)
            soft = (v, q, byte, ops.soft_gate(r, q, x), ops.soft_gate(r, byte))
            results.append((y, mask, ops.gate(r, mask, x, 3), p, winner, bits, back, *soft, _coalitions(x, r)))
    for i, (found, expected) in enumerate(zip(*results, strict=True)):
        worst = float((found.double() - expected.double()).abs().max())
        limit = 0.0 if found.dtype == torch.uint8 else torch.finfo(found.dtype).eps * float(expected.abs().max())
        if not worst <= limit:
            raise AssertionError(f"result {i} of backend {backend} is {worst:.2e} from the reference ({dtype})")


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    header = ("op", "backend", "dtype", "ms", "20-80 %", "GB/s", "copy GB/s", "of copy")
    body = [
        (
            r["op"],
            r["backend"],
            r["dtype"],
            f"{r['median_ms']:.4f}",
            f"{r['p20_ms']:.4f}-{r['p80_ms']:.4f}",
            f"{r['gb_per_s']:.0f}",
            f"{r['copy_gb_per_s']:.0f}",
            f"{r['of_copy']:.2f}" + ("" if r["of_copy"] >= BAR else " below the bar"),
        )
        for r in found
    ]
    return rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.ops", description=__doc__)
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument("--backend", action="append", help="repeatable; default: cuda and triton")
    p.add_argument("--dtype", action="append", choices=list(DTYPES), help="repeatable; default: float32, bfloat16")
    p.add_argument("--shape", type=int, nargs=4, default=(64, 64, 112, 112), help="N C H W; default: %(default)s")
    p.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    p.add_argument("--store", type=Path, help="append the rows to this JSON-lines file")
    return p


def main(argv: list[str] | None = None) -> int:
    """Check, measure, print, store on request."""
    args = parser().parse_args(argv)
    device, shape, found = torch.device(args.device), tuple(args.shape), []
    for backend in args.backend or ("cuda", "triton"):
        for dtype in args.dtype or ("float32", "bfloat16"):
            check((3, 17, 23, 19), dtype, device, backend)
            found += measure(backend, shape, dtype, device, args.rounds)
    print(to_text(found), flush=True)
    if args.store:
        environment = rows.environment(device)
        rows.store(({**row, "environment": environment} for row in found), args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
