"""The CUDA kernels of mlp_chains, run on the CPU, against the statement."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.cuda import cases
from tests.cuda.calls import run
from tests.ops import chains_statement
from tests.ops.chains_statement import Shape

DTYPES = ("float32", "float64")
# Each layer's width below, at and above what a thread, a step of depth and a panel take, on either side of half a
# panel; tiles of chains and of rows that are full, not full, and more than there are blocks; one player, two, groups.
SHAPES = [
    Shape(1, 1, 1, 1, 1, (1,)),
    Shape(2, 3, 3, 7, 4, (5,)),
    Shape(1, 2, 2, 5, 3, (40,)),
    Shape(2, 3, 2, 9, 4, (5, 3)),
    Shape(1, 2, 3, 6, 6, (16, 1)),
    Shape(2, 1, 2, 17, 3, (33, 70)),
    Shape(1, 2, 2, 6, 3, (130, 65, 10)),
    Shape(1, 2, 2, 5, 2, (20, 48, 34, 17, 1, 3)),
    Shape(3, 2, 13, 3, 2, (4, 40, 2)),
    Shape(1, 70, 1, 3, 3, (3, 2)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(emulated, shape, dtype):
    for antithetic in (False, True):
        run(emulated, cases.mlp_chains(shape, dtype, antithetic))
    run(emulated, cases.mlp_chains(shape, dtype, True, exact=False))
    # On the grid operands have few bits, and TF32 has them all.
    run(emulated, cases.mlp_chains(shape, dtype, True, tf32=(), most_blocks=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_chains_of_many_features(emulated, dtype):
    run(emulated, cases.mlp_chains(Shape(1, 1, 1, 70, 40, (48, 33, 1)), dtype, True, exact=False))


@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
@pytest.mark.parametrize("widths", [(40, 64, 40), (130, 100, 3), (17, 5, 40), (5, 3)], ids=str)
def test_tf32_rounds_operands_of_panels(emulated, widths, antithetic):
    """Ten bits of mantissa in what panels multiply behind the first layer, all of them elsewhere."""
    panels = {layer for layer, width in enumerate(widths) if layer and width > 32}
    run(emulated, cases.mlp_chains(Shape(1, 2, 33, 4, 3, widths), "float32", antithetic, exact=False, tf32=panels))


@pytest.mark.parametrize(("dtype", "tf32"), [("float32", None), ("float32", (1,)), ("float64", None)])
@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
def test_same_bits_alone_and_in_company(emulated, dtype, tf32, antithetic):
    shape = Shape(2, 3, 11, 6, 4, (40, 50, 17, 2))
    given = chains_statement.call(shape, 3, exact=False).wide(getattr(torch, dtype))
    whole = run(emulated, cases.given_mlp_chains(given, dtype, antithetic, exact=False, tf32=tf32, most_blocks=3))
    pairs = whole["marginals"].reshape(2, 11, -1)
    for row, g in ((0, 0), (0, 10), (1, 5)):
        only, back = (slice(row, row + 1), slice(g, g + 1)), int(given.cycle[row, g])
        alone = given._replace(
            x=given.x[only[0]],
            background=given.background[back : back + 1],
            cycle=np.zeros((1, 1), dtype=int),
            permutations=given.permutations[only],
        )
        found = run(emulated, cases.given_mlp_chains(alone, dtype, antithetic, exact=False, tf32=tf32))
        assert np.array_equal(found["marginals"], pairs[row, g])
        assert np.array_equal(found["fx"], whole["fx"].reshape(2, -1)[row])
        assert np.array_equal(found["fb"], whole["fb"].reshape(3, -1)[back])


def test_each_block_has_a_scratch_of_its_own(emulated):
    """Blocks run one after another here, so that a shared one would not show in results."""
    written = []
    module = SimpleNamespace(mlp_chains=lambda **arguments: written.append(emulated.mlp_chains(**arguments)))
    for most_blocks in (1, 2, 3):
        run(module, cases.mlp_chains(Shape(1, 1, 48, 3, 3, (40, 40, 40)), "float32", True, most_blocks=most_blocks))
    # The first layer's sums as far as they are read, and a panel for the second's and for two steps of the last's.
    own = 32 * (48 + 64 + 2 * 64)
    assert np.diff(written).tolist() == [own, own]


@pytest.mark.parametrize("dtype", DTYPES)
def test_chains_end_at_the_direct_products(emulated, dtype):
    """What one player gains is what the results say of the ends, to the bit."""
    given = chains_statement.call(Shape(3, 2, 4, 9, 1, (33, 20, 3)), 4, exact=False).wide(getattr(torch, dtype))
    found = run(emulated, cases.given_mlp_chains(given, dtype, True, exact=False))
    pairs, fx, fb = (found[name].view(dtype).reshape(-1, 3) for name in ("marginals", "fx", "fb"))
    assert np.array_equal(pairs.reshape(3, 4, 3), fx[:, None] - fb[given.cycle])


@pytest.mark.parametrize("tf32", [None, ()])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_relu_keeps_nan(emulated, layer, tf32):
    """What is not a number is not cut off to 0, whichever layer makes it."""
    given = chains_statement.call(Shape(1, 1, 1, 3, 3, (4, 40, 2)), 1, exact=True)
    given.biases[layer][:] = np.nan
    found = run(emulated, cases.given_mlp_chains(given, "float32", True, tf32=tf32))
    assert all(np.isnan(values.view("float32")).all() for values in found.values())


@pytest.mark.parametrize("name", ["x", "background", "cycle", "permutations", "members", "starts", "weights"])
def test_pointers_off_sixteen_bytes(emulated, name):
    names = dict.fromkeys([name] if name != "weights" else ["weights", "biases", "marginals", "fx", "fb"], 1)
    for dtype in DTYPES:
        run(emulated, cases.mlp_chains(Shape(2, 2, 2, 5, 3, (8, 40)), dtype, True, offsets=names))


@pytest.mark.parametrize(("rows", "pairs"), [(0, 2), (2, 0)])
def test_nothing_to_walk(emulated, rows, pairs):
    given = chains_statement.call(Shape(2, 3, 2, 6, 4, (5, 3)), 6, exact=True)
    cut = {"x": given.x[:rows], "cycle": given.cycle[:rows, :pairs], "permutations": given.permutations[:rows, :pairs]}
    run(emulated, cases.given_mlp_chains(given._replace(**cut), "float32", True))
