"""max_pool_pack and max_pool_scatter against their statement in numpy, and against torch's own pooling."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES, grid, tensor

# shape, (kernel, stride, padding, dilation, ceil_mode), bits of a winner
CASES = {
    "2x2/2": ((2, 3, 6, 8), ((2, 2), (2, 2), (0, 0), (1, 1), False), 2),
    "2x2/2 odd size": ((2, 19, 7, 5), ((2, 2), (2, 2), (0, 0), (1, 1), False), 2),
    "2x2/2 ceil": ((2, 16, 7, 5), ((2, 2), (2, 2), (0, 0), (1, 1), True), 2),
    "3x3/2 padded": ((2, 33, 9, 8), ((3, 3), (2, 2), (1, 1), (1, 1), False), 4),
    "3x3/2 ceil": ((1, 64, 8, 8), ((3, 3), (2, 2), (0, 0), (1, 1), True), 4),
    "3x3/1": ((1, 5, 6, 40), ((3, 3), (1, 1), (1, 1), (1, 1), False), 4),
    "2x3/(1,3) mixed": ((2, 4, 5, 70), ((2, 3), (1, 3), (1, 0), (1, 1), False), 4),
    "dilated": ((2, 3, 9, 41), ((3, 2), (1, 2), (1, 1), (2, 3), False), 4),
    "5x4 eight bits": ((1, 17, 8, 9), ((5, 4), (2, 1), (2, 2), (1, 1), True), 8),
    "16x16 all 256 taps": ((1, 2, 18, 17), ((16, 16), (5, 4), (8, 8), (1, 1), False), 8),
    "1x1": ((2, 3, 4, 4), ((1, 1), (1, 1), (0, 0), (1, 1), False), 2),
    "1-d": ((2, 5, 37), ((3,), (2,), (1,), (1,), True), 2),
    "3-d": ((1, 3, 5, 6, 7), ((2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 1, 2), False), 4),
    "3-d 2x2x2": ((1, 16, 4, 4, 6), ((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), False), 4),
    "gaps between windows": ((1, 3, 9, 9), ((2, 2), (3, 4), (0, 0), (1, 1), False), 2),
    "one element": ((1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1), False), 2),
    "no rows": ((0, 3, 6, 6), ((2, 2), (2, 2), (0, 0), (1, 1), False), 2),
}
LAYOUTS = ("contiguous", "channels_last", "permuted")


@cache
def _forward(name, special, relu):
    shape, pool, _ = CASES[name]
    values = grid(shape, 1, special)
    return values, *statement.max_pool(values, pool, relu)


@cache
def _reverse(name, classes, mode):
    shape, pool, _ = CASES[name]
    _, y, won = _forward(name, False, True)
    values = grid((classes * y.shape[0], *y.shape[1:]), 2)
    # Any bits will do, and those of a maximum over many taps would all be 1.
    bits = grid(y.shape, 3) > 0
    return values, won, bits, statement.max_pool_scatter(values, won, bits, shape[2:], pool, mode)


def _few(backend, cases):
    """Every case, or every other one for Triton, whose interpreter takes its time over every instruction."""
    return list(cases)[:: 2 if backend == "triton" else 1]


def _arguments(pool):
    return [list(part) for part in pool[:4]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_forward(backend, name, layout, dtype):
    _, pool, width = CASES[name]
    for special, relu in _few(backend, [(True, True), (False, True), (True, False), (False, False)]):
        values, expected, won = _forward(name, special, relu)
        x = tensor(values, dtype, layout)
        with ops.backend(backend):
            y, winner, mask = ops.max_pool_pack(x, *_arguments(pool), pool[4], relu)
        statement.assert_equal(y, expected, x)
        statement.assert_packed(winner, won, width, x)
        if relu:
            statement.assert_packed(mask, expected > 0, 1, x)
        else:
            assert mask.shape == (0,) and mask.dtype == torch.uint8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_reverse(backend, name, layout, dtype):
    shape, pool, width = CASES[name]
    for classes, mode in _few(backend, [(1, 0), (3, 0), (3, 1), (1, 1), (1, 2), (3, 2), (3, 3), (1, 3)]):
        values, won, bits, expected = _reverse(name, classes, mode)
        g = tensor(values, dtype, layout)
        winner = statement.packed_tensor(won, width, g)
        mask = statement.packed_tensor(bits, 1, g)
        with ops.backend(backend):
            out = ops.max_pool_scatter(
                g, winner, mask if mode & 1 else None, shape[2:], *_arguments(pool), mode, won.size
            )
        statement.assert_equal(out, expected, g)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_dropped_infinity_leaves_no_nan(backend, layout):
    x = tensor(grid((2, 16, 6, 6), 1), torch.float32, layout)
    pool = ([2, 2], [2, 2], [0, 0], [1, 1])
    with ops.backend(backend):
        y, winner, mask = ops.max_pool_pack(x, *pool, relu=True)
        g = torch.full_like(y, float("inf"))
        out = ops.max_pool_scatter(g, winner, mask, [6, 6], *pool, mode=1)
    assert int(torch.isinf(out).sum()) == int((y > 0).sum()) and not torch.isnan(out).any()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("pool", [(2, 2, 0, 1, False), (3, 2, 1, 1, False), (3, 2, 0, 1, True), (3, 1, 1, 2, False)])
def test_is_the_gradient_of_torchs_pool_after_relu(backend, pool, layout):
    x = tensor(np.random.default_rng(0).standard_normal((2, 16, 13, 11)), torch.float64, layout)
    leaf = x.clone().requires_grad_()
    expected = F.max_pool2d(torch.relu(leaf), *pool[:4], ceil_mode=pool[4])
    g = tensor(np.random.default_rng(1).standard_normal(tuple(expected.shape)), torch.float64, layout)
    expected.backward(g)
    sizes = [[p, p] for p in pool[:4]]
    with ops.backend(backend):
        y, winner, mask = ops.max_pool_pack(x, *sizes, pool[4], True)
        out = ops.max_pool_scatter(g, winner, mask, x.shape[2:], *sizes, mode=1)
    assert torch.equal(y, expected.detach())
    # Up to nine terms are added in another order than torch's.
    assert float((out - leaf.grad).abs().max()) <= 1e-14


def test_ties_go_to_the_first_tap_and_several_nans_to_the_last(backend):
    x = torch.tensor([[2.0, 2.0, 2.0, 2.0, float("nan"), 1.0, float("nan"), 3.0]]).view(1, 2, 2, 2)
    with ops.backend(backend):
        y, winner, _ = ops.max_pool_pack(x, [2, 2], [2, 2], [0, 0], [1, 1])
    index = F.max_pool2d(x, 2, return_indices=True)[1].flatten().tolist()
    assert y.flatten()[0] == 2 and torch.isnan(y.flatten()[1])
    assert [winner[0] & 3, winner[0] >> 2 & 3] == index == [0, 2]


def test_values_without_winners(backend):
    x = torch.randn(2, 16, 6, 6)
    with ops.backend(backend):
        y, winner, mask = ops.max_pool_pack(x, [3, 3], [2, 2], [1, 1], [1, 1], relu=True, pack=False)
    assert winner.shape == mask.shape == (0,)
    assert torch.equal(y, F.max_pool2d(torch.relu(x), 3, 2, 1))


def test_nothing_flows_back_from_no_window(backend):
    none = torch.empty(0, dtype=torch.uint8)
    with ops.backend(backend):
        out = ops.max_pool_scatter(torch.empty(2, 3, 0), none, None, [1], [2], [2], [0], [1])
    assert torch.equal(out, torch.zeros(2, 3, 1))


def test_a_wrong_winner_writes_nothing_outside(backend):
    # Bytes that no pool wrote: each tap, in the padding too, must lead inside the result or nowhere.
    pool = ([5, 4], [2, 1], [2, 2], [1, 1])
    for layout in ("contiguous", "channels_last"):
        g = tensor(np.ones((1, 16, 4, 10)), torch.float32, layout)
        winner = torch.arange(640).to(torch.uint8)
        with ops.backend(backend):
            out = ops.max_pool_scatter(g, winner, None, [8, 9], *pool)
        assert out.shape == (1, 16, 8, 9) and 0 < float(out.sum()) < 640


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((2, 3, 6, 6), [2], [2, 2], [0, 0], [1, 1]), "kernel must have 2 sizes"),
        (((2, 3, 6, 6), [2, 2], [0, 2], [0, 0], [1, 1]), "stride must have 2 sizes of at least 1"),
        (((2, 3, 6, 6), [2, 2], [2, 2], [0, -1], [1, 1]), "padding must have 2 sizes of at least 0"),
        (((2, 3, 6, 6), [2, 2], [2, 2], [0, 2], [1, 1]), "padding must be at most half of the kernel"),
        (((2, 3, 6, 6), [2, 2], [2, 2], [0, 0], []), "dilation must have 2 sizes"),
        (((2, 3, 4, 4), [5, 2], [2, 2], [0, 0], [1, 1]), "x must be at least as large as the dilated kernel"),
        (((2, 3, 9, 1), [2, 2], [1, 1], [1, 1], [1, 2]), "a window would hold no element"),
        (((2, 3, 40, 40), [17, 16], [2, 2], [0, 0], [1, 1]), "1 to 256 taps"),
        (((2, 3), [], [], [], []), "1 to 3 spatial sizes"),
    ],
)
def test_forward_refuses(backend, arguments, message):
    shape, *pool = arguments
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        ops.max_pool_pack(torch.randn(shape), *pool)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_spatial": [6]}, "input_spatial must have 2 sizes"),
        ({"input_spatial": [9, 6]}, "g must have the pooled size in spatial dimension 0"),
        ({"mode": 5}, "mode must be 0"),
        ({"mode": 1, "mask": None}, "mask must be given for mode 1"),
        ({"winner": torch.zeros(16, dtype=torch.uint8)}, "winner must hold 20 bytes"),
        ({"mode": 3, "mask": torch.zeros(8, dtype=torch.uint8)}, "mask must hold 12 bytes"),
        ({"period": 7}, "period must divide"),
        ({"period": 24, "winner": torch.zeros(8, dtype=torch.uint8)}, "period must be a whole number of rows|mask"),
    ],
)
def test_reverse_refuses(backend, changes, message):
    arguments = {
        "g": torch.randn(2, 4, 3, 3),
        "winner": torch.zeros(20, dtype=torch.uint8),
        "mask": torch.zeros(12, dtype=torch.uint8),
        "input_spatial": [6, 6],
        "kernel": [2, 2],
        "stride": [2, 2],
        "padding": [0, 0],
        "dilation": [1, 1],
    }
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        on_device = {k: v.to(arguments["g"].device) if isinstance(v, torch.Tensor) else v for k, v in changes.items()}
        ops.max_pool_scatter(**{**arguments, **on_device})
