"""Random calls of every op, compiled against reference, bit for bit; run as a program, once per instruction set."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.ops import native

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _random(rng: random.Random, shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> Tensor:
    x = torch.randn(shape, dtype=torch.float64)
    if rng.random() < 0.3:
        x[torch.rand(shape) < 0.1] = rng.choice([float("nan"), float("inf"), float("-inf"), 0.0, -0.0])
    x = x.to(dtype)
    if layout == "channels_last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.transpose(0, -1).contiguous().transpose(0, -1) if layout == "permuted" else x


def _pool(rng: random.Random, dims: int) -> list[list[int]]:
    kernel = [rng.choice([1, 2, 2, 3, 3, 4, 5]) for _ in range(dims)]
    stride = [rng.choice([1, 2, 2, 3]) for _ in range(dims)]
    return [kernel, stride, [rng.randint(0, k // 2) for k in kernel], [1] * dims]


def _soft(rng: random.Random, x: Tensor, bias: Tensor | None, residual: Tensor, layout: str) -> dict[str, Tensor]:
    """The results of random calls of the soft gates' ops, by name."""
    dtype, shape = x.dtype, tuple(x.shape)
    branches = [rng.randrange(3) for _ in range(rng.choice([1, 2]))]
    factors = [rng.choice([0.0, 1.0, -1.0, 0.25, 1.7, -0.3]) for _ in range(2 * len(branches))]
    d = _random(rng, shape, dtype, layout) if rng.random() < 0.7 else None
    given = (
        d,
        bias,
        _random(rng, shape[1:2], dtype, "contiguous") if d is not None and rng.random() < 0.5 else None,
        rng.choice([None, residual, d]),
        factors,
        branches,
        rng.choice([0.0, 1e-6, 0.25]),
        *rng.choice([(0.0, float("inf")), (-float("inf"), float("inf")), (-0.7, 0.9)]),
        rng.randrange(3),
    )
    results = dict(zip(("v", "first", "second"), ops.soft_gate_pack(x, *given), strict=True))
    _, byte, other = ops.soft_gate_pack(x, *given, True)
    dense = x if layout != "permuted" else x.contiguous()
    changed, again = dense.clone(), dense.clone()
    for k, gate in enumerate(ops.soft_gate_pack_(changed, *given)):
        results[f"changed {k}"] = gate
    for k, gate in enumerate(ops.soft_gate_pack_(again, *given, out=[dense.byte() for _ in branches])):
        results[f"told {k}"] = gate
    g = _random(rng, (2 * shape[0], *shape[1:]), dtype, layout)
    skip = _random(rng, tuple(g.shape), dtype, "permuted") if rng.random() < 0.5 else None
    results.update(changed=changed, again=again, byte=byte, other=other, soft=ops.soft_gate(g, results["first"], skip))
    results["from byte"] = ops.soft_gate(g, byte, skip)
    return results


def _written(rng: random.Random, dtype: torch.dtype) -> Tensor:
    """The result of a random call of write_coalitions_."""
    d, rows, bases, orders, count = rng.choice([1, 7, 30, 64, 200, 784, 5000]), 3, 2, 4, rng.randint(1, 9)
    run = rng.choice([1, 2, 3, 5, 16, 50])
    players = -(-d // run)
    labels = torch.randperm(players).repeat_interleave(run)[:d] if rng.random() < 0.7 else torch.arange(d) // run
    fields = [torch.randint(0, most, (count,)) for most in (rows, bases, orders, players + 1)]
    x, background = (_random(rng, (size, d), dtype, "contiguous") for size in (rows, bases))
    made = rng.choice([dtype, torch.float16, torch.bfloat16]) if dtype == torch.float32 else dtype
    out = torch.empty(count, d, dtype=made)
    ranks = torch.stack([torch.randperm(players) for _ in range(orders)])
    ops.write_coalitions_(out, x, background, labels.int(), ranks.int(), torch.stack(fields, dim=1).int())
    return out


def _sampled(rng: random.Random) -> dict[str, Tensor]:
    """The results of random calls of draw_orders and accumulate_moments_, by name."""
    count, n, outputs = rng.choice([1, 2, 9]), rng.choice([1, 4, 30, 301]), rng.choice([1, 1, 3])
    rows, seed = torch.randperm(7)[: rng.randint(1, 7)], rng.randrange(-(2**70), 2**70)
    orders = ops.draw_orders(rows, seed, rng.randrange(2**32), rng.randrange(2**32 - count), count, n)
    state = (torch.randint(0, 9, (7,)), *torch.randn(2, 7, n, outputs, dtype=torch.float64))
    for _ in range(2):
        dtype = rng.choice([torch.float32, torch.float64])
        ops.accumulate_moments_(*state, rows, _random(rng, (len(rows), count, n, outputs), dtype, "permuted"))
    return {"orders": orders, **dict(zip(("count", "mean", "m2"), state, strict=True))}


def case(seed: int) -> dict[str, Tensor]:
    """The results of one random call of every op, by name."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    dtype, layout, dims = (
        rng.choice(DTYPES),
        rng.choice(["contiguous", "channels_last", "permuted"]),
        rng.choice([1, 2, 2, 3]),
    )
    spatial = [rng.choice([5, 6, 7, 8, 20, 35]) if d == dims - 1 else rng.choice([5, 6, 8]) for d in range(dims)]
    shape = (rng.choice([1, 2, 3]), rng.choice([1, 3, 16, 33, 64]), *spatial)
    x, residual = _random(rng, shape, dtype, layout), _random(rng, shape, dtype, "permuted")
    bias = _random(rng, shape[1:2], dtype, "contiguous") if rng.random() < 0.5 else None
    lo, hi = rng.choice([(0.0, float("inf")), (0.0, 1.0), (-0.7, 0.9)])
    results: dict[str, Tensor] = {}
    results["y"], results["mask"] = ops.relu_pack(x, bias, residual if rng.random() < 0.5 else None, lo, hi)
    g = _random(rng, (2 * shape[0], *shape[1:]), dtype, layout)
    skip = _random(rng, tuple(g.shape), dtype, "permuted") if rng.random() < 0.5 else None
    results["gated"] = ops.gate(g, results["mask"], skip, rng.randrange(4), x.numel())
    results.update(_soft(rng, x, bias, residual, layout))
    pool = _pool(rng, dims)
    pooled, winner, positive = ops.max_pool_pack(x, *pool, rng.random() < 0.5, True)
    results.update(pooled=pooled, winner=winner, positive=positive)
    g = _random(rng, (2 * pooled.shape[0], *pooled.shape[1:]), dtype, "contiguous")
    g = g.movedim(1, -1).contiguous().movedim(-1, 1) if layout == "channels_last" else g
    results["scattered"] = ops.max_pool_scatter(g, winner, positive, spatial, *pool, rng.randrange(4), pooled.numel())
    results["written"] = _written(rng, dtype)
    results.update(_sampled(rng))
    return results


def compare(seed: int) -> None:
    """Raises where the compiled kernels and the reference differ in a value or a stride."""
    with ops.backend("cpp"):
        compiled = case(seed)
    with ops.backend("reference"):
        reference = case(seed)
    for name, want in reference.items():
        got = compiled[name]
        assert got.stride() == want.stride() and got.dtype == want.dtype, f"case {seed}: layout of {name}"
        same = ((got == want) & (got.signbit() == want.signbit())) | ((got != got) & (want != want))
        assert bool(same.all()), f"case {seed}: {int((~same).sum())} elements of {name} differ"


if __name__ == "__main__":
    torch.set_num_threads(1)
    count = 150
    for seed in range(count):
        compare(seed)
    print(f"{native.cpu_isa()}: {count} cases")
