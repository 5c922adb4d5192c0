"""mlp_outer_sums stated a second time, in float64 and numpy and sharing no code with it, and the calls it is tested on.

Run as a program, it compares the C++ kernel with the statement.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from reluxfast import ops
from reluxfast.ops import native
from tests.ops.chains_statement import TOLERANCE
from tests.ops.statement import array


class Shape(NamedTuple):
    """Groups, high and low rows of each, units of the first layer, widths of those behind it."""

    groups: int
    highs: int
    lows: int
    width: int
    behind: tuple[int, ...]


# As in chains_statement; rows that share a high row end within tiles, at their ends, and reach over several.
SHAPES = [
    Shape(1, 4, 128, 128, (64, 1)),
    Shape(2, 3, 5, 64, (10,)),
    Shape(3, 70, 1, 17, (20, 3)),
    Shape(2, 1, 300, 33, (1,)),
    Shape(1, 1, 1, 1, (1,)),
    Shape(2, 2, 3, 1, (2, 1, 3, 1)),
    Shape(1, 2, 50, 65, (100, 130, 17, 40, 10)),
    Shape(5, 5, 24, 144, (79, 30)),
    Shape(1, 3, 241, 31, (97, 48, 1)),
]


def call(shape: Shape, seed: int, exact: bool) -> list:
    """The arguments of a random call, as arrays: quarters and halves if `exact`, so that all sums are exact."""
    generator = np.random.default_rng(seed)
    groups, highs, lows, width, behind = shape

    def numbers(*size: int) -> np.ndarray:
        return generator.integers(-8, 9, size) / 4 if exact else generator.standard_normal(size)

    def weight(*size: int) -> np.ndarray:
        if exact:
            return generator.choice([-1.0, -0.5, 0.5, 1.0], size) * (generator.random(size) < 8 / size[1])
        return generator.standard_normal(size) * np.sqrt(2 / size[1])

    weights = [weight(*size) for size in zip(behind, (width, *behind), strict=False)]
    return [numbers(groups, highs, width), numbers(groups, lows, width), weights, [numbers(size) for size in behind]]


def tensors(given: list, dtype: torch.dtype) -> list:
    """Arguments as tensors."""
    return [tensors(one, dtype) if isinstance(one, list) else torch.tensor(one, dtype=dtype) for one in given]


def mlp_outer_sums(high: np.ndarray, low: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]):
    """One sum after the other."""
    y = np.full((*high.shape[:2], low.shape[1], len(biases[-1])), np.nan)
    for m, p, q in np.ndindex(*y.shape[:3]):
        z = high[m, p] + low[m, q]
        for weight, bias in zip(weights, biases, strict=True):
            z = weight @ np.where(z > 0, z, 0) + bias
        y[m, p, q] = z
    return y


def assert_exact(shape: Shape, dtype: torch.dtype) -> None:
    """Compares the active backend's answer to a call on the grid with the statement: every element equal."""
    given = call(shape, 1, exact=True)
    got = ops.mlp_outer_sums(*tensors(given, dtype))
    assert got.dtype == dtype and got.is_contiguous()
    np.testing.assert_array_equal(array(got), mlp_outer_sums(*given))


def assert_close(shape: Shape, dtype: torch.dtype) -> None:
    """As `assert_exact` for a call off the grid, with the tolerance of the dtype."""
    given = tensors(call(shape, 2, exact=False), dtype)
    rounded = [[array(t) for t in one] if isinstance(one, list) else array(one) for one in given]
    want = mlp_outer_sums(*rounded)
    np.testing.assert_allclose(
        array(ops.mlp_outer_sums(*given)), want, rtol=0, atol=TOLERANCE[dtype] * np.abs(want).max()
    )


def assert_independent(backend: str, shape: Shape, dtype: torch.dtype) -> None:
    """A kernel's bits for a sum are the same alone and in company, and on any number of threads."""
    high, low, *layers = tensors(call(shape, 3, exact=False), dtype)
    with ops.backend(backend):
        whole = ops.mlp_outer_sums(high, low, *layers)
        for threads in (2, 3) if backend == "cpp" else ():
            torch.set_num_threads(threads)
            assert torch.equal(ops.mlp_outer_sums(high, low, *layers), whole)
        torch.set_num_threads(1)
        for m, p, q in ((0, 0, 0), (-1, -1, -1), (0, shape.highs // 2, shape.lows // 2)):
            alone = ops.mlp_outer_sums(high[m, p].view(1, 1, -1), low[m, q].view(1, 1, -1), *layers)
            assert torch.equal(alone.flatten(), whole[m, p, q])


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    with ops.backend("cpp"):
        for shape in SHAPES:
            for dtype in TOLERANCE:
                assert_exact(shape, dtype)
                assert_close(shape, dtype)
                assert_independent("cpp", shape, dtype)
    print(f"{native.cpu_isa()}: {len(SHAPES)} shapes")
