"""mlp_chains stated a second time, in float64 and numpy and sharing no code with it, and the calls it is tested on.

A call on the grid has inputs in quarters and weights in halves, so that every sum in it is exact in float32 too:
results must then be equal, whatever the order of the sums. Run as a program, it compares the C++ kernel with the
statement.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.ops import native
from tests.ops.statement import array


class Shape(NamedTuple):
    """Rows, background rows, pairs, features, players, and the layers' widths."""

    rows: int
    background: int
    pairs: int
    features: int
    players: int
    widths: tuple[int, ...]


# Widths below, at and above registers and panels of every instruction set; one output, a few, more than a cache line;
# one to six layers; one player, two, a player for each feature; chains longer than a tile and many that share one.
SHAPES = [
    Shape(2, 3, 2, 30, 30, (128, 64, 1)),
    Shape(2, 3, 3, 13, 5, (64, 10)),
    Shape(1, 1, 1, 7, 7, (1,)),
    Shape(3, 2, 2, 17, 4, (3,)),
    Shape(2, 1, 3, 5, 5, (1, 1)),
    Shape(2, 2, 2, 11, 11, (33, 1)),
    Shape(1, 2, 70, 9, 6, (17, 20, 3)),
    Shape(2, 2, 40, 6, 1, (8, 5, 1)),
    Shape(2, 3, 150, 6, 2, (16, 15, 1)),
    Shape(2, 2, 2, 8, 8, (1, 2, 1, 3, 1)),
    Shape(1, 2, 2, 19, 3, (65, 100, 130, 17, 40, 10)),
    Shape(1, 3, 2, 12, 12, (31, 97, 48, 1)),
    Shape(1, 1, 2, 10, 9, (144, 79, 30)),
    Shape(1, 2, 1, 300, 290, (70, 81, 1)),
    Shape(1, 1, 1, 1, 1, (2, 2)),
]


class Call(NamedTuple):
    """The arguments of mlp_chains but the last, as arrays."""

    x: np.ndarray
    background: np.ndarray
    cycle: np.ndarray
    permutations: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]

    def tensors(self, dtype: torch.dtype) -> list:
        """The arguments as tensors, numbers in the given dtype."""

        def number(values: np.ndarray) -> Tensor:
            return torch.tensor(values, dtype=dtype)

        index = [torch.tensor(values, dtype=torch.int32) for values in self[2:6]]
        lists = [[number(values) for values in given] for given in self[6:]]
        return [number(self.x), number(self.background), *index, *lists]

    def wide(self, dtype: torch.dtype) -> Call:
        """The same call after rounding its numbers to the dtype."""
        x, background, *index, weights, biases = self.tensors(dtype)
        lists = [[array(t) for t in given] for given in (weights, biases)]
        return Call(array(x), array(background), *(t.cpu().numpy() for t in index), *lists)


def call(shape: Shape, seed: int, exact: bool) -> Call:
    """A random call of the given shape: on the grid if `exact`, else normal numbers and weights of usual size."""
    generator = np.random.default_rng(seed)
    rows, background, pairs, features, players, widths = shape
    # A feature for each player, and the others for anybody.
    others = generator.integers(players, size=features - players)
    owner = generator.permutation(np.concatenate([np.arange(players), others]))

    def numbers(size: tuple[int, ...]) -> np.ndarray:
        return generator.integers(-8, 9, size) / 4 if exact else generator.standard_normal(size)

    def weight(size: tuple[int, int]) -> np.ndarray:
        if exact:
            return generator.choice([-1.0, -0.5, 0.5, 1.0], size) * (generator.random(size) < 8 / size[1])
        return generator.standard_normal(size) * np.sqrt(2 / size[1])

    sizes = list(zip(widths, (features, *widths), strict=False))
    return Call(
        numbers((rows, features)),
        numbers((background, features)),
        generator.integers(background, size=(rows, pairs)),
        generator.permuted(np.broadcast_to(np.arange(players), (rows, pairs, players)), axis=-1),
        np.argsort(owner, kind="stable"),
        np.searchsorted(np.sort(owner), np.arange(players + 1)),
        [weight(size) for size in sizes],
        [numbers((width,)) for width in widths],
    )


def to_tf32(values: np.ndarray) -> np.ndarray:
    """Each number rounded to eleven significant bits, ties away from zero."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.copysign(np.floor(np.abs(mantissa) * 2048 + 0.5), values), exponent - 11)


def network(
    z: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray], rounded: Container[int] = ()
) -> np.ndarray:
    """The network's outputs (K,) for one input (d,); operands of the layers `rounded` are rounded to TF32."""
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        h = np.maximum(z, 0) if layer else z
        z = (to_tf32(weight) @ to_tf32(h) if layer in rounded else weight @ h) + bias
    return z


class Stated(NamedTuple):
    """The three results, and the largest value that f took."""

    pairs: np.ndarray
    fx: np.ndarray
    fb: np.ndarray
    scale: float


def mlp_chains(given: Call, antithetic: bool, rounded: Container[int] = ()) -> Stated:
    """Every coalition of every chain as a set of players, its input written out; layers `rounded` but for the ends."""
    x, background, cycle, permutations, members, starts, weights, biases = given
    pairs = np.full((*permutations.shape, len(biases[-1])), np.nan)
    largest = 0.0
    for r, g in np.ndindex(*cycle.shape):

        def value(coalition: set[int], row: np.ndarray = x[r], other: np.ndarray = background[cycle[r, g]]):
            z = other.copy()
            for player in coalition:
                for feature in members[starts[player] : starts[player + 1]]:
                    z[feature] = row[feature]
            inner = 0 < len(coalition) < permutations.shape[2]
            return network(z, weights, biases, rounded if inner else ())

        order = permutations[r, g].tolist()
        for t, player in enumerate(order):
            with_player, without = value(set(order[: t + 1])), value(set(order[:t]))
            marginal = with_player - without
            largest = max(largest, np.abs(with_player).max(), np.abs(without).max())
            if antithetic:
                marginal = (marginal + value(set(order[t:])) - value(set(order[t + 1 :]))) / 2
            pairs[r, g, player] = marginal
    fx, fb = (np.array([network(z, weights, biases) for z in rows]) for rows in (x, background))
    return Stated(pairs, fx.reshape(-1, len(biases[-1])), fb, largest)


def assert_exact(shape: Shape, dtype: torch.dtype, antithetic: bool) -> None:
    """Compares the active backend's answer to a call on the grid with the statement: every element equal."""
    given = call(shape, 1, exact=True)
    want = mlp_chains(given, antithetic)
    for got, stated in zip(ops.mlp_chains(*given.tensors(dtype), antithetic), want[:3], strict=True):
        assert got.dtype == dtype and got.is_contiguous()
        np.testing.assert_array_equal(array(got), stated)


# Of the largest value of f: sums of up to 300 terms in float32, and the difference of two of them.
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-14}


def assert_close(shape: Shape, dtype: torch.dtype, antithetic: bool, seed: int = 2) -> None:
    """As `assert_exact` for a call off the grid, with the tolerance of the dtype."""
    given = call(shape, seed, exact=False).wide(dtype)
    want = mlp_chains(given, antithetic)
    for got, stated in zip(ops.mlp_chains(*given.tensors(dtype), antithetic), want[:3], strict=True):
        np.testing.assert_allclose(array(got), stated, rtol=0, atol=TOLERANCE[dtype] * want.scale)


def assert_tf32(shape: Shape, antithetic: bool, rounded: Container[int]) -> None:
    """Where TF32 is allowed the operands of the layers `rounded` have ten bits of mantissa, no more and no less, but
    those of f(x) and f(b) have them all.
    """
    given = call(shape, 2, exact=False).wide(torch.float32)
    want, unrounded = mlp_chains(given, antithetic, rounded), mlp_chains(given, antithetic)
    pairs, *ends = (array(values) for values in ops.mlp_chains(*given.tensors(torch.float32), antithetic, True))
    for got, stated in zip(ends, want[1:3], strict=True):
        np.testing.assert_allclose(got, stated, rtol=0, atol=TOLERANCE[torch.float32] * want.scale)
    # Sums in another order may round a few activations the other way.
    assert np.linalg.norm(pairs - want.pairs) <= 0.2 * np.linalg.norm(want.pairs - unrounded.pairs)


def assert_independent(backend: str, shape: Shape, dtype: torch.dtype, antithetic: bool) -> None:
    """A kernel's bits for a pair are the same alone and in company, and on any number of threads."""
    given = call(shape, 3, exact=False).tensors(dtype)
    x, background, cycle, permutations, *rest = given
    with ops.backend(backend):
        pairs, fx, fb = ops.mlp_chains(*given, antithetic)
        for threads in (2, 3) if backend == "cpp" else ():
            torch.set_num_threads(threads)
            for got, want in zip(ops.mlp_chains(*given, antithetic), (pairs, fx, fb), strict=True):
                assert torch.equal(got, want)
        torch.set_num_threads(1)
        for row in range(len(x)):
            for g in {0, shape.pairs // 2, shape.pairs - 1}:
                back = int(cycle[row, g])
                only = slice(row, row + 1), slice(g, g + 1)
                alone = ops.mlp_chains(
                    x[only[0]],
                    background[back : back + 1],
                    torch.zeros_like(cycle[only]),
                    permutations[only],
                    *rest,
                    antithetic,
                )
                for got, want in zip(alone, (pairs[only], fx[only[0]], fb[back : back + 1]), strict=True):
                    assert torch.equal(got, want)


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    with ops.backend("cpp"):
        for shape in SHAPES:
            for dtype in TOLERANCE:
                assert_exact(shape, dtype, True)
                assert_exact(shape, dtype, False)
                assert_close(shape, dtype, True)
                assert_independent("cpp", shape, dtype, True)
    print(f"{native.cpu_isa()}: {len(SHAPES)} shapes")
