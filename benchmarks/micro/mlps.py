"""Multilayer perceptrons at many coalitions: permutation chains, and all sums of two tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.benchmarks.micro.chains import NETWORKS, Chains
from reluxfast.benchmarks.micro.works import Call, Values, Work

# Network, rows and pairs for each row.
_CHAINS = (("30-128-64-1", 8, 16), ("100-256-128-1", 4, 8), ("784-256-128-10", 1, 4))
_TINY_CHAINS = (("30-128-64-1", 2, 1),)
# Rows and both tables of sums: 12 players are 64 x 64 coalitions.
_SUMS = ((4, 64, 64), (1, 256, 256))
_TINY_SUMS = ((2, 3, 5),)
# Sums of some hundred products; marginals are differences of such sums after some hundred steps.
_SUMS_SLACK, _CHAINS_SLACK = (64.0, 64.0), (1024.0, 1024.0)


def all_shapes(tiny: bool, dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Chains and sums of networks of usual size."""
    if dtype not in (torch.float32, torch.float64):
        return
    for network, rows, pairs in _TINY_CHAINS if tiny else _CHAINS:
        yield _chains(network, rows, pairs, dtype, device)
    for shape in _TINY_SUMS if tiny else _SUMS:
        yield _sums(shape, dtype, device)


def _chains(network: str, rows: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Work:
    def draw() -> Values:
        drawn = Chains.random(network, rows, pairs, device).tensors()
        return tuple(t.to(dtype) if t.is_floating_point() else t for t in drawn)

    def ours(*tensors: Tensor) -> Call:
        chains = Chains.of(tensors)
        arguments = chains.arguments()
        return Call(lambda: (ops.mlp_chains(*arguments, True)[0],), (*tensors, *arguments[4:6]))

    def plain(*tensors: Tensor) -> Call:
        chains = Chains.of(tensors)
        return Call(lambda: (chains.masked(),))

    features, widths = NETWORKS[network]
    each = widths[0] + sum(a * b for a, b in pairwise(widths))
    flop = 2 * 2 * rows * pairs * (features - 1) * each
    return Work("mlp_chains", network, (rows, pairs, features), draw, ours, plain, flop, _CHAINS_SLACK)


def _sums(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> Work:
    rows, left, right = shape
    widths = (128, 64, 1)

    def values(*size: int) -> Tensor:
        return torch.randn(size, device=device).to(dtype)

    def draw() -> Values:
        layers = list(zip(widths[1:], widths, strict=False))
        weights = [values(*size) * (2 / size[1]) ** 0.5 for size in layers]
        return values(rows, left, widths[0]), values(rows, right, widths[0]), *weights, *(values(n) for n in widths[1:])

    def ours(high: Tensor, low: Tensor, *layers: Tensor) -> Call:
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        return Call(lambda: (ops.mlp_outer_sums(high, low, weights, biases),), (high, low, *layers))

    def plain(high: Tensor, low: Tensor, *layers: Tensor) -> Call:
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]

        def run() -> Values:
            z = high[:, :, None] + low[:, None]
            for weight, bias in zip(weights, biases, strict=True):
                z = torch.nn.functional.linear(z.relu_(), weight, bias)
            return (z,)

        return Call(run)

    flop = rows * left * right * (widths[0] + 2 * sum(a * b for a, b in pairwise(widths)))
    return Work("mlp_outer_sums", "128-64-1", shape, draw, ours, plain, flop, _SUMS_SLACK)
