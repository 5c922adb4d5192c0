"""soft_gate and soft_gate_ against their statement in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES, LAYOUTS, grid, tensor

# One row of the gate: sizes that begin the next class inside a register, and sizes that do not; one element; none.
ROWS = [
    (2, 3, 5, 7),
    (1, 16, 4, 8),
    (2, 33, 3, 3),
    (3, 5, 11),
    (1, 3, 3, 2, 5),
    (7, 19),
    (45,),
    (1, 1, 1, 1),
    (0, 3, 4),
    (2, 0, 4),
]


def _q(shape: tuple[int, ...], quantised: bool) -> np.ndarray:
    # Bytes are checked exactly elsewhere: here only those that stand for 0 and for exactly 1.
    return (grid(shape, 1) > 0).astype(np.uint8) * 255 if quantised else grid(shape, 1)


def _tensor(q: np.ndarray, dtype: torch.dtype, layout: str) -> torch.Tensor:
    return tensor(q, torch.uint8 if q.dtype == np.uint8 else dtype, layout)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_values(backend, row, layout, dtype):
    for classes in (1, 3):
        shape = (classes * row[0], *row[1:])
        values, skip = grid(shape, 2), grid(shape, 3)
        g = tensor(values, dtype, layout)
        # Other layouts than g's: a gate and a skip may have any.
        for quantised, q_layout, with_skip in (
            (False, "contiguous", False),
            (False, "channels_last", True),
            (False, "permuted", False),
            (True, "sliced", True),
            (True, "channels_last", False),
        ):
            q = _q(row, quantised)
            with ops.backend(backend):
                out = ops.soft_gate(
                    g, _tensor(q, dtype, q_layout), tensor(skip, dtype, "permuted") if with_skip else None
                )
            statement.assert_equal(out, statement.soft_gate(values, q, skip if with_skip else None), g)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_in_place(backend, row, layout, dtype):
    shape = (2 * row[0], *row[1:])
    values, skip = grid(shape, 2), grid(shape, 3)
    for quantised in (False, True):
        q = _q(row, quantised)
        g = tensor(values, dtype, layout)
        before = g.data_ptr()
        with ops.backend(backend):
            assert ops.soft_gate_(g, _tensor(q, dtype, layout), tensor(skip, dtype, "sliced")) is None
        assert g.data_ptr() == before
        statement.assert_equal(g, statement.soft_gate(values, q, skip), g)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("with_skip", [False, True])
def test_rounds_at_each_step(backend, with_skip, quantised, special, dtype):
    row, shape = (2, 19, 5, 7), (4, 19, 5, 7)

    def values(size):
        x = torch.randn(size, dtype=torch.float64, device="cpu").numpy()
        if special:
            for value in (np.nan, np.inf, -np.inf, 0.0, -0.0):
                x[torch.rand(size, device="cpu").numpy() < 0.08] = value
        return x

    g, skip = tensor(values(shape), dtype, "channels_last"), tensor(values(shape), dtype, "contiguous")
    q = tensor(values(row), dtype, "channels_last")
    if quantised:
        q = torch.randint(0, 256, row).to(torch.uint8)
    with ops.backend(backend):
        out = ops.soft_gate(g, q, skip if with_skip else None)
    wide = [statement.wide_array(t) for t in (g, skip)]
    weights = q.cpu().numpy() if quantised else statement.wide_array(q)
    expected = statement.soft_gate(wide[0], weights, wide[1] if with_skip else None)
    statement.assert_equal(out, expected, g)
    # Bitwise zeros where the gate is 0: 0 * inf, 0 * NaN or -0 would show.
    closed = out[np.concatenate([weights, weights]) == 0]
    assert (not special and not quantised) or closed.numel()
    assert torch.equal(closed, torch.zeros_like(closed)) and not torch.signbit(closed).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_byte(backend, dtype):
    q = torch.arange(256).to(torch.uint8)
    g = torch.full((256,), 3.0, dtype=dtype)
    with ops.backend(backend):
        out = ops.soft_gate(g, q)
    exact = 3.0 * np.arange(256) / 255
    # Two roundings in the dtype that is computed in and one to the dtype of the result.
    computed_in = torch.float64 if dtype == torch.float64 else torch.float32
    slack = 1.01 * torch.finfo(dtype).eps + 2 * torch.finfo(computed_in).eps
    assert (np.abs(statement.array(out) - exact) <= slack * exact).all()
    assert out[255] == 3.0 and out[0] == 0.0


def test_undoes_the_packing(backend):
    """R = v c: the gate of a map times its map's denominator gives the map back."""
    z = torch.randn(2, 5, 6, 7).to(memory_format=torch.channels_last)
    d = z.abs() + 1
    with ops.backend(backend):
        v, q, _ = ops.soft_gate_pack(z, d, factors=(0.0, 1.0), lo=0.0, epsilon=0.0)
        _, byte, _ = ops.soft_gate_pack(z, d, factors=(0.0, 1.0), lo=0.0, epsilon=0.0, quantise=True)
        back = ops.soft_gate(d, q)
        coarse = ops.soft_gate(d, byte)
    assert torch.allclose(back, v, rtol=3e-7, atol=0)
    # Half a step of a byte, times d.
    assert bool(((coarse - v).abs() <= d * (0.501 / 255)).all()) and not torch.equal(coarse, back)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_multiply_in_float32_and_round_once(backend, dtype):
    g, skip, q = (torch.randn(999).to(dtype) for _ in range(3))
    with ops.backend(backend):
        out = ops.soft_gate(g, q, skip)
    assert torch.equal(out, ((g.float() + skip.float()) * q.float()).to(dtype))


@pytest.mark.parametrize("layout", ["permuted", "sliced"])
def test_in_place_needs_a_dense_tensor(backend, layout):
    g = tensor(grid((2, 3, 5, 7), 1), torch.float32, layout)
    with ops.backend(backend), pytest.raises(RuntimeError, match=r"g must be dense .*g\.contiguous\(\)"):
        ops.soft_gate_(g, torch.zeros_like(g))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda g: (g.int(), g), "g must be float32, float64, float16 or bfloat16"),
        (lambda g: (g, g.double()), "q must have the dtype of g, .*, or be uint8"),
        (lambda g: (g, g.to(torch.int8)), "q must have the dtype of g, .*, or be uint8"),
        (lambda g: (g, g[:, :2]), "q must have g's shape but for the rows"),
        (lambda g: (g, g[0]), "q must have g's shape but for the rows"),
        (lambda g: (g, g[:3]), "q must have a number of rows that divides g's, 4, got 3"),
        (lambda g: (g, g[:0]), "q must have a number of rows that divides g's, 4, got 0"),
        (lambda g: (g[:2], g), "q must have a number of rows that divides g's, 2, got 4"),
        (lambda g: (g, g, g[:2]), "skip must have the shape of g"),
        (lambda g: (g, g, g.half()), "skip must have the dtype of g"),
    ],
)
@pytest.mark.parametrize("name", ["soft_gate", "soft_gate_"])
def test_refuses(backend, name, arguments, message):
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        getattr(ops, name)(*arguments(torch.zeros(4, 3, 11)))


def test_a_map_of_one_row_of_classes(backend):
    g = torch.arange(1.0, 13.0).view(6, 2)
    with ops.backend(backend):
        out = ops.soft_gate(g, torch.tensor([[2.0, 0.0], [0.0, math.inf]]))
    assert out.tolist() == [[2.0, 0.0], [0.0, math.inf], [10.0, 0.0], [0.0, math.inf], [18.0, 0.0], [0.0, math.inf]]
