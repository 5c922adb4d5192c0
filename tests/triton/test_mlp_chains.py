"""mlp_chains on Triton: tiles and programs, padding, what the reference answers, plans; the rest is in tests/ops."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch

from reluxfast import errors, ops
from reluxfast.ops import _register
from reluxfast.ops.mlp_chains import mlp_chains_reference
from tests.ops.chains_statement import Shape, assert_close, assert_exact, assert_tf32, call, mlp_chains
from tests.ops.statement import array

SMALL = Shape(2, 3, 2, 6, 4, (5, 3))


@pytest.fixture(autouse=True)
def triton_answers(binding):
    with ops.backend("triton"):
        yield


@pytest.mark.parametrize(
    ("widths", "tiling"),
    [
        ((128, 64, 1), ((128, 64, 1), 64, 4)),
        ((1, 1), ((32, 1), 64, 4)),
        ((33, 65, 3), ((64, 128, 4), 64, 8)),
        ((2000, 100, 17, 10), ((2048, 128, 32, 16), 64, 8)),
        ((256, 129, 256, 5), ((256, 256, 256, 8), 32, 8)),
        ((16, 130), ((32, 256), 32, 8)),
    ],
    ids=str,
)
def test_tilings(binding, widths, tiling):
    """More than 64 rows of 128 columns, or 32 of 256, would need more registers than a program has."""
    found = binding.Tiling.of(widths)
    assert (found.widths, found.rows, found.warps) == tiling and found.outputs == widths[-1]


# 64 chains to a tile; two programs share the tiles.
@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
@pytest.mark.parametrize(("pairs", "tiles"), [(32, (1, 1)), (33, (1, 2)), (65, (2, 3)), (129, (3, 5))])
def test_tiles_and_programs(launches, pairs, tiles, antithetic):
    assert_exact(Shape(1, 2, pairs, 3, 3, (4, 2)), torch.float32, antithetic)
    assert launches == [("mlp_direct", 1), ("mlp_direct", 1), ("mlp_chains", min(2, tiles[antithetic]))]


def test_each_program_has_a_scratch_of_its_own(binding, monkeypatch):
    """In the interpreter programs run one after another, so that a shared one would not show in results."""
    given, real = [], binding.mlp_chains_kernels.launch

    def launch(kernel, programs, on, *arguments, **constants):
        place = kernel.arg_names.index("scratch_ptr")
        given.append((kernel.__name__, programs, arguments[place], constants["ROWS"]))
        real(kernel, programs, on, *arguments, **constants)

    monkeypatch.setattr(binding.mlp_chains_kernels, "launch", launch)
    assert_exact(Shape(65, 65, 1, 3, 3, (40, 33, 2)), torch.float32, True)
    floats = {"_mlp_direct_kernel": 64, "_mlp_chains_kernel": 64 + 64}
    for name, programs, scratch, rows in given:
        # Uninitialised memory is NaN.
        assert programs == 2 and scratch.numel() == 2 * rows * floats[name] and not scratch.isnan().any()


def test_direct_tiles(launches):
    """Rows of x and of the background beyond a tile, and beyond a tile for each program."""
    for rows, background in ((65, 129), (130, 64)):
        assert_exact(Shape(rows, background, 1, 2, 2, (3, 2)), torch.float32, True)
        programs = [programs for name, programs in launches if name == "mlp_direct"]
        assert programs == [min(2, -(-count // 64)) for count in (rows, background)]
        launches.clear()


@pytest.mark.parametrize("outputs", [1, 3, 10, 33])
@pytest.mark.parametrize("hidden", [(1,), (32,), (33,), (40, 31), (65, 7, 33)], ids=str)
def test_padding(hidden, outputs):
    for features, antithetic in ((4, False), (33, True)):
        assert_exact(Shape(1, 2, 2, features, 4, (*hidden, outputs)), torch.float32, antithetic)


def test_one_large_group_among_single_features():
    given = call(Shape(2, 2, 3, 40, 4, (33, 5)), 3, exact=True)
    given = given._replace(starts=np.array([0, 1, 37, 38, 40]))
    want = mlp_chains(given, True)
    for got, stated in zip(ops.mlp_chains(*given.tensors(torch.float32)), want[:3], strict=True):
        np.testing.assert_array_equal(array(got), stated)


@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
def test_chains_end_at_the_direct_products(antithetic):
    """What one player gains is what the results say of the ends, to the bit."""
    given = call(Shape(3, 2, 4, 9, 1, (33, 20, 3)), 4, exact=False).tensors(torch.float32)
    pairs, fx, fb = ops.mlp_chains(*given, antithetic)
    assert torch.equal(pairs[:, :, 0], fx[:, None] - fb[given[2].long()])


@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
@pytest.mark.parametrize("widths", [(5, 3), (40, 33, 1), (16, 20, 17, 10)], ids=str)
def test_tf32_behind_the_first_layer(widths, antithetic):
    assert_tf32(Shape(2, 2, 2, 8, 5, widths), antithetic, range(1, len(widths)))


def test_tf32_keeps_nan():
    given = call(Shape(1, 1, 1, 3, 3, (4, 2)), 1, exact=True).tensors(torch.float32)
    # A NaN whose bits are all set has no room for more.
    given[6][1][:] = torch.tensor([-1], dtype=torch.int32).view(torch.float32)
    pairs, _, _ = ops.mlp_chains(*given, True, True)
    assert bool(pairs.isnan().all())


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_relu_keeps_nan(layer):
    """What is not a number is not cut off to 0, whichever layer makes it."""
    given = call(Shape(1, 1, 1, 3, 3, (4, 4, 2)), 1, exact=True).tensors(torch.float32)
    given[7][layer][:] = torch.nan
    assert all(bool(values.isnan().all()) for values in ops.mlp_chains(*given))


@pytest.mark.parametrize(("rows", "pairs"), [(0, 2), (2, 0)])
def test_nothing_to_walk(launches, rows, pairs):
    x, background, cycle, permutations, *rest = call(SMALL, 6, exact=True).tensors(torch.float32)
    found = ops.mlp_chains(x[:rows], background, cycle[:rows, :pairs], permutations[:rows, :pairs], *rest)
    assert [tuple(values.shape) for values in found] == [(rows, pairs, 4, 3), (rows, 3), (3, 3)]
    assert launches == [("mlp_direct", 1)] * (2 if rows else 1)


BEYOND = {
    "float64": (SMALL, torch.float64, "its kernel for mlp_chains computes in float32, got torch.float64"),
    "one layer": (
        Shape(1, 1, 1, 3, 3, (2,)),
        torch.float32,
        "its kernel for mlp_chains needs a hidden layer, got a single weight",
    ),
    "wide layer": (
        Shape(1, 1, 1, 3, 3, (5, 257, 2)),
        torch.float32,
        "its kernel for mlp_chains takes up to 256 units in each layer behind the first, got 257",
    ),
    "many outputs": (Shape(1, 1, 1, 3, 3, (5, 300)), torch.float32, "got 300"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_by_name_it_refuses_what_it_does_not_take(launches, name):
    shape, dtype, reason = BEYOND[name]
    with pytest.raises(errors.BackendUnavailable, match=f"{re.escape(reason)}. Use backend 'auto' or 'reference'"):
        ops.mlp_chains(*call(shape, 1, exact=True).tensors(dtype))
    assert not launches


@pytest.mark.parametrize("name", BEYOND)
def test_under_the_dispatcher_the_reference_takes_over_and_says_so_once(launches, name):
    shape, dtype, reason = BEYOND[name]
    given = call(shape, 1, exact=True).tensors(dtype)
    answer = _register.triton_or_reference("mlp_chains", mlp_chains_reference)
    _register._say_once.cache_clear()
    with pytest.warns(UserWarning, match=f"mlp_chains with its slower pure-torch reference: .*{re.escape(reason)}"):
        found = answer(*given, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer(*given, True)
        answer(*call(SMALL, 1, exact=True).tensors(torch.float32), True)
    assert [name for name, _ in launches] == ["mlp_direct", "mlp_direct", "mlp_chains"]
    for got, want in zip(found, mlp_chains_reference(*given, True), strict=True):
        assert torch.equal(got, want)


def test_the_widest_it_takes():
    assert_close(Shape(1, 1, 1, 3, 2, (5, 256, 256)), torch.float32, True)
    # The first layer is walked in blocks and may have any width.
    assert_close(Shape(1, 1, 1, 3, 2, (600, 2)), torch.float32, True)


def test_checks_do_not_hide_behind_plans(binding):
    binding._plans.clear()
    given = call(SMALL, 8, exact=True).tensors(torch.float32)
    for _ in range(2):
        ops.mlp_chains(*given)
        ops.mlp_chains(*given, False)
    assert len(binding._plans) == 2
    x, background, cycle, permutations, members, starts, weights, biases = given
    for wrong, message in (
        ((x[:1], *given[1:]), "permutations must have shape"),
        ((x, background.double(), *given[2:]), "background must have the dtype of x"),
        ((*given[:7], [biases[0], biases[1][:2]]), r"biases\[1\] must have shape"),
        ((*given[:6], [weights[0], weights[1][:, 1:]], biases), r"weights\[1\] must have shape"),
        ((*given[:6], weights, biases[:1]), "biases must hold a tensor"),
        ((x, background, cycle, permutations, members, starts.long(), weights, biases), "starts must be int32"),
    ):
        with pytest.raises(RuntimeError, match=message):
            ops.mlp_chains(*wrong)
    assert len(binding._plans) == 2
