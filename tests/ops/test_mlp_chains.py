"""mlp_chains against its statement in numpy, and the promises of its kernel."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
import torch

from reluxfast import errors, ops
from reluxfast.ops import native
from tests.device import BACKENDS, KIND
from tests.ops import outer_sums_statement
from tests.ops.chains_statement import (
    SHAPES,
    Shape,
    assert_close,
    assert_exact,
    assert_independent,
    assert_tf32,
    call,
    mlp_chains,
)
from tests.ops.statement import array
from tests.ops.test_backend import python
from tests.ops.test_native import ISAS

# Those that have a kernel for it.
ANSWERS = [name for name in BACKENDS if name != "auto"]
DTYPES = [torch.float32, torch.float64]
# Kernels that look at the values of indices.
CHECKED = [name for name in ANSWERS if name not in ("triton", "cuda")]
NEEDS_CPP = pytest.mark.skipif("cpp" not in ANSWERS, reason="the C++ kernel is not there for tensors of this device")


def _takes(name: str, shape: Shape, dtype: torch.dtype) -> bool:
    """Triton's kernel is for float32 and networks with a hidden layer; long chains take long in its interpreter."""
    small = shape.players <= 30 or KIND != "cpu"
    return name != "triton" or (dtype == torch.float32 and len(shape.widths) > 1 and small)


CALLS = [(n, s, d) for n, s, d in product(ANSWERS, SHAPES, DTYPES) if _takes(n, s, d)]
KERNELS = [(n, s, d) for n, s, d in CALLS if n != "reference"]


@pytest.fixture(params=ANSWERS)
def answers(request):
    """Answers calls with one backend."""
    with ops.backend(request.param):
        yield request.param


@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
@pytest.mark.parametrize(("name", "shape", "dtype"), CALLS, ids=str)
def test_values(name, shape, dtype, antithetic):
    with ops.backend(name):
        assert_exact(shape, dtype, antithetic)
        assert_close(shape, dtype, antithetic)


MANY = Shape(1, 1, 1, 784, 784, (256, 128, 1))


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n, d in product(ANSWERS, DTYPES) if _takes(n, MANY, d)], ids=str
)
def test_values_of_many_features(name, dtype):
    with ops.backend(name):
        assert_close(MANY, dtype, True)


def test_strides_of_every_kind(answers):
    for dtype in DTYPES:
        if _takes(answers, SHAPES[1], dtype):
            _compare_strided(dtype)


def _compare_strided(dtype):
    given = call(SHAPES[1], 4, exact=True)
    want = mlp_chains(given, True)

    def strided(x):
        if isinstance(x, list):
            return [strided(one) for one in x]
        x = torch.stack([x, torch.full_like(x, 99)], dim=-1)[..., 0]
        return x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() == 2 else x

    arguments = [strided(x) for x in given.tensors(dtype)]
    assert not any(x.is_contiguous() for x in arguments[:6])
    for got, stated in zip(ops.mlp_chains(*arguments), want[:3], strict=True):
        assert got.is_contiguous()
        np.testing.assert_array_equal(array(got), stated)


def test_values_by_hand(answers):
    """f = relu(z_0 + z_1 - 1) + z_2: the first two gain 1 together and nothing alone; the third is free."""
    weights = [torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([[1.0, 1.0]])]
    biases = [torch.tensor([-1.0, 0.0]), torch.tensor([0.5])]
    x, background = torch.tensor([[1.0, 1.0, 3.0]]), torch.tensor([[9.0, 9.0, 9.0], [0.0, 0.0, 0.0]])
    cycle, order = torch.tensor([[1]]).int(), torch.tensor([[[1, 2, 0]]]).int()
    members, starts = torch.arange(3).int(), torch.arange(4).int()
    pairs, fx, fb = ops.mlp_chains(x, background, cycle, order, members, starts, weights, biases, False)
    assert (pairs.flatten().tolist(), fx.tolist(), fb.tolist()) == ([1.0, 0.0, 3.0], [[4.5]], [[26.5], [0.5]])
    pairs, _, _ = ops.mlp_chains(x, background, cycle, order, members, starts, weights, biases)
    assert pairs.flatten().tolist() == [0.5, 0.5, 3.0]
    grouped = torch.tensor([[[1, 0]]]).int(), torch.tensor([0, 2, 1]).int(), torch.tensor([0, 1, 3]).int()
    pairs, _, _ = ops.mlp_chains(x, background, cycle, *grouped, weights, biases, False)
    assert pairs.flatten().tolist() == [1.0, 3.0]


@pytest.mark.parametrize(("name", "shape"), [(n, s) for n, s, d in CALLS if d == torch.float32], ids=str)
def test_efficiency(name, shape):
    given = call(shape, 5, exact=False).tensors(torch.float32)
    with ops.backend(name):
        pairs, fx, fb = ops.mlp_chains(*given)
    total = fx[:, None] - fb[given[2].long()]
    # Telescoping is exact but for the rounding of each marginal and of their sum.
    slack = 1e-6 * shape.players * (fx.abs().max() + fb.abs().max())
    assert bool(((pairs.sum(2) - total).abs() <= slack).all())


@pytest.mark.parametrize(("rows", "pairs"), [(0, 2), (2, 0), (0, 0)])
def test_sizes_of_zero(answers, rows, pairs):
    given = call(Shape(2, 3, 2, 6, 4, (5, 3)), 6, exact=True)
    want = mlp_chains(given, True)
    x, background, cycle, permutations, *rest = given.tensors(torch.float32)
    got = ops.mlp_chains(x[:rows], background, cycle[:rows, :pairs], permutations[:rows, :pairs], *rest)
    assert got[0].shape == (rows, pairs, 4, 3)
    np.testing.assert_array_equal(array(got[1]), want.fx[:rows])
    np.testing.assert_array_equal(array(got[2]), want.fb)


@pytest.fixture
def rows_alone(monkeypatch):
    """Products of Triton's interpreter in which the place of a row does not matter, as compiled; in BLAS it does."""
    monkeypatch.setattr(np, "matmul", lambda a, b, dtype: np.einsum("ij,jk->ik", a, b, dtype=dtype))


@pytest.mark.parametrize("name", ANSWERS)
def test_tf32_where_there_is_some(name):
    """Triton's interpreter rounds as a device does; layers of this width are whole panels of the CUDA kernel."""
    shape = Shape(1, 2, 2, 8, 6, (48, 64, 40))
    with ops.backend(name):
        if name == "triton" or (name == "cuda" and torch.cuda.get_device_capability() >= (8, 0)):
            assert_tf32(shape, True, (1, 2))
            return
        for dtype in DTYPES:
            given = call(shape, 2, exact=False).tensors(dtype)
            with_it, without = (ops.mlp_chains(*given, True, allowed) for allowed in (True, False))
            assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))


@pytest.mark.usefixtures("rows_alone")
@pytest.mark.parametrize("antithetic", [False, True], ids=["forward", "antithetic"])
@pytest.mark.parametrize(("name", "shape", "dtype"), KERNELS, ids=str)
def test_same_bits_alone_and_in_company(name, shape, dtype, antithetic):
    assert_independent(name, shape, dtype, antithetic)


@pytest.mark.usefixtures("rows_alone")
@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "reference"])
def test_same_bits_when_pairs_are_split_over_calls(name):
    x, background, cycle, permutations, *rest = call(SHAPES[8], 7, exact=False).tensors(torch.float32)
    with ops.backend(name):
        whole, _, _ = ops.mlp_chains(x, background, cycle, permutations, *rest)
        for parts in (2, 7):
            split = [
                ops.mlp_chains(x, background, c, p, *rest)[0]
                for c, p in zip(cycle.chunk(parts, 1), permutations.chunk(parts, 1), strict=True)
            ]
            assert torch.equal(torch.cat(split, 1), whole)


@NEEDS_CPP
@pytest.mark.parametrize("isa", ISAS)
def test_instruction_set(isa):
    if ISAS.index(native.cpu_isa()) < ISAS.index(isa):
        pytest.skip(f"this machine has no {isa}")
    # One process for both ops: to start one takes longer than to compare.
    statements = {"chains_statement": SHAPES, "outer_sums_statement": outer_sums_statement.SHAPES}
    program = "import runpy\n"
    program += "\n".join(f"runpy.run_module('tests.ops.{name}', run_name='__main__')" for name in statements)
    done = python(program, RELUXFAST_CPU_ISA=isa)
    compared = "".join(f"{isa}: {len(shapes)} shapes\n" for shapes in statements.values())
    assert (done.returncode, done.stdout) == (0, compared), done.stderr


def _with(**changes):
    """Changes arguments of a call, by name: each change is a function of the old value."""
    names = ["x", "background", "cycle", "permutations", "members", "starts", "weights", "biases"]

    def change(arguments):
        return [
            changes[name](value) if name in changes else value for name, value in zip(names, arguments, strict=True)
        ]

    return change


def _put(index, value):
    def change(x):
        x = x.clone()
        x[index] = value
        return x

    return change


REFUSED = [
    (_with(x=lambda x: x.half()), "x must be float32 or float64, got torch.float16; convert it with .float()"),
    (_with(x=lambda x: x[0]), "x must have shape (N, d), d at least 1, got (6,)"),
    (_with(x=lambda x: x[:, :0]), "x must have shape (N, d), d at least 1, got (2, 0)"),
    (_with(background=lambda b: b.double()), "background must have the dtype of x, torch.float32, got torch.float64"),
    (
        _with(background=lambda b: b[:0]),
        "background must have shape (B, d), B at least 1 and d that of x, 6, got (0, 6)",
    ),
    (
        _with(background=lambda b: b[:, 1:]),
        "background must have shape (B, d), B at least 1 and d that of x, 6, got (3, 5)",
    ),
    (
        _with(permutations=lambda p: p.long()),
        "permutations must be int32, got torch.int64; convert it with .int()",
    ),
    (
        _with(permutations=lambda p: p[:1]),
        "permutations must have shape (N, G, n), N that of x, 2, and n at least 1, got (1, 2, 4)",
    ),
    (
        _with(permutations=lambda p: p[..., :0]),
        "permutations must have shape (N, G, n), N that of x, 2, and n at least 1, got (2, 2, 0)",
    ),
    (_with(cycle=lambda c: c.float()), "cycle must be int32, got torch.float32; convert it with .int()"),
    (_with(cycle=lambda c: c[:, :1]), "cycle must have the shape (N, G) of permutations, (2, 2), got (2, 1)"),
    (_with(members=lambda m: m.short()), "members must be int32, got torch.int16; convert it with .int()"),
    (_with(members=lambda m: m[:5]), "members must have shape (d,), (6,), got (5,)"),
    (_with(starts=lambda s: s.bool()), "starts must be int32, got torch.bool; convert it with .int()"),
    (_with(starts=lambda s: s[:4]), "starts must have shape (n + 1,), (5,), got (4,)"),
    (_with(weights=lambda w: []), "weights must hold 1 to 6 tensors, got 0"),
    (_with(weights=lambda w: w * 4), "weights must hold 1 to 6 tensors, got 8"),
    (_with(biases=lambda b: b[:1]), "biases must hold a tensor for each of the 2 weights, got 1"),
    (_with(weights=lambda w: [w[0], w[1].double()]), "weights[1] must have the dtype of x, torch.float32, got"),
    (_with(weights=lambda w: [w[0], w[1][:, 1:]]), "weights[1] must have shape (H, 5), H at least 1, got (3, 4)"),
    (_with(weights=lambda w: [w[0][:0], w[1]]), "weights[0] must have shape (H, 6), H at least 1, got (0, 6)"),
    (_with(biases=lambda b: [b[0].double(), b[1]]), "biases[0] must have the dtype of x, torch.float32, got"),
    (_with(biases=lambda b: [b[0], b[1][:2]]), "biases[1] must have shape (3,), got (2,)"),
]
# What only those find that look at the values of indices.
REFUSED_VALUES = [
    (
        _with(members=_put(2, 6)),
        "members must hold each of the features 0 to 5 once; "
        "sort the features by player, as player.argsort(stable=True).int() does",
    ),
    (_with(members=_put(2, -1)), "members must hold each of the features 0 to 5 once"),
    (_with(members=lambda m: _put(0, int(m[5]))(m)), "members must hold each of the features 0 to 5 once"),
    (
        _with(starts=_put(0, 1)),
        "starts must ascend from 0 to the number of features, 6, so that each player has a feature, got 1 as starts[0]",
    ),
    (_with(starts=lambda s: _put(2, int(s[1]))(s)), "so that each player has a feature, got 1 as starts[2]"),
    (_with(starts=_put(4, 7)), "so that each player has a feature, got 7 as starts[4]"),
    (_with(starts=_put(4, 5)), "so that each player has a feature, got 5 as starts[4]"),
    (_with(cycle=_put((1, 0), 3)), "cycle must hold rows of background, 0 to 2, got 3 for row 1, pair 0"),
    (_with(cycle=_put((0, 1), -1)), "cycle must hold rows of background, 0 to 2, got -1 for row 0, pair 1"),
    (
        _with(permutations=lambda p: _put((1, 0, 2), int(p[1, 0, 3]))(p)),
        "permutations must hold each of the players 0 to 3 once, those of row 1, pair 0 do not",
    ),
    (_with(permutations=_put((0, 1, 3), 4)), "0 to 3 once, those of row 0, pair 1 do not"),
    (_with(permutations=_put((0, 1, 3), -1)), "0 to 3 once, those of row 0, pair 1 do not"),
]


def _valid() -> list:
    given = call(Shape(2, 3, 2, 6, 4, (5, 3)), 8, exact=True)
    # Sizes of the groups: 1, 2, 1, 2.
    return given._replace(starts=np.array([0, 1, 3, 4, 6])).tensors(torch.float32)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [(n, *case) for n in ANSWERS for case in (*REFUSED, *(REFUSED_VALUES if n in CHECKED else ()))],
)
def test_refuses(name, change, message):
    arguments = _valid()
    with ops.backend(name):
        ops.mlp_chains(*arguments)
        with pytest.raises(RuntimeError, match=re.escape(message)):
            ops.mlp_chains(*change(arguments))


@NEEDS_CPP
@pytest.mark.parametrize("change", [change for change, _ in (*REFUSED, *REFUSED_VALUES)])
def test_refuses_in_the_words_of_the_reference(change):
    said = []
    for name in ("reference", "cpp"):
        with ops.backend(name), pytest.raises(RuntimeError) as raised:
            ops.mlp_chains(*change(_valid()))
        said.append(str(raised.value))
    # torch puts the place in the source before a compiled kernel's message.
    assert said[1].endswith(f", {said[0]}")


@pytest.mark.parametrize("argument", [0, 1, 6, 7])
def test_a_derivative_is_refused(answers, argument):
    arguments = _valid()
    wanted = arguments[argument] if argument < 2 else arguments[argument][1]
    wanted.requires_grad_()
    # The reference itself is plain torch: it is the operator that refuses.
    with ops.backend("auto"), pytest.raises(RuntimeError, match=r"mlp_chains has no derivative.*torch\.no_grad"):
        ops.mlp_chains(*arguments)[0].sum().backward()


def test_a_backend_without_a_kernel_refuses(monkeypatch):
    monkeypatch.setattr(ops, "check_device", lambda name, device: None)
    monkeypatch.setattr(ops, "active_backend", lambda: "cuda")
    monkeypatch.setattr(ops, "_has_cuda", lambda name: False)
    message = "backend 'cuda' is not available: it has no kernel for mlp_chains. Use backend 'auto' or 'reference'"
    with pytest.raises(errors.BackendUnavailable, match=re.escape(message)):
        ops.mlp_chains(*_valid())
