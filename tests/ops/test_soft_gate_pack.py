"""soft_gate_pack and soft_gate_pack_ against their statement in numpy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES, LAYOUTS, grid, tensor

INF = math.inf
# No multiple of anything, a multiple of everything, one element, none; one to three spatial dimensions and none.
SHAPES = [
    (2, 3, 5, 7),
    (1, 16, 4, 8),
    (2, 33, 3, 3),
    (3, 5, 11),
    (2, 4, 3, 2, 5),
    (7, 19),
    (45,),
    (1, 1, 1, 1),
    (0, 3, 4, 4),
    (2, 0, 4, 4),
]


class Rule(NamedTuple):
    """The scalar arguments of one call, and whether it has a d, a residual, and biases of z and of d."""

    factors: tuple[float, ...]
    branches: tuple[int, ...]
    epsilon: float
    lo: float
    hi: float
    numerator: int
    with_d: bool
    with_residual: bool
    with_bias: bool
    with_d_bias: bool = False

    def scalars(self) -> tuple:
        return self[:6]


RULES = {
    "epsilon": Rule((1.0, 0.0), (0,), 0.5, -INF, INF, 0, False, False, True),
    "epsilon, reciprocal": Rule((1.0, 0.0), (0,), 0.25, -INF, INF, 1, False, True, False),
    "epsilon 0, relu": Rule((1.0, 0.0), (1,), 0.0, 0.0, INF, 2, False, True, True),
    "negative alone": Rule((0.5, 0.0), (2,), 0.5, 0.25, 0.75, 1, False, False, False),
    "two gates of one map": Rule((1.0, 0.0, -0.5, 0.0), (1, 2), 0.0, 0.0, INF, 1, False, False, True),
    "positive part": Rule((0.0, 1.0), (0,), 0.5, 0.0, INF, 0, True, False, True),
    "gamma": Rule((1.0, 0.25), (1,), 0.25, 0.0, 1.5, 0, True, True, False),
    "open where not zero": Rule((0.5, -2.0), (0,), 0.0, -1.0, 2.0, 2, True, True, True, True),
    "alpha, beta": Rule((0.0, 1.0, 1.0, -1.0), (0, 0), 0.0, 0.0, INF, 0, True, False, False),
    "alpha, beta, everything": Rule((0.0, 1.0, 1.0, -1.0), (0, 1), 0.5, -2.0, 2.0, 1, True, True, True, True),
    "parts": Rule((1.0, 0.0, 0.0, 1.0), (0, 0), 0.5, 0.0, INF, 0, True, True, True),
    "branches of gamma": Rule((1.0, 0.5, 1.0, -0.5), (1, 2), 0.5, -INF, 0.0, 1, True, False, False, True),
}


class Arrays(NamedTuple):
    """The tensors of one call as arrays, or None."""

    z: np.ndarray
    d: np.ndarray | None
    bias: np.ndarray | None
    d_bias: np.ndarray | None
    residual: np.ndarray | None


def exact(shape: tuple[int, ...], rule: Rule, seed: int) -> Arrays:
    """Inputs on a dyadic grid whose denominators are powers of two, or 0 where ε is 0: every quotient is exact."""
    generator = np.random.default_rng(seed)
    powers = [-4, -2, -1, -0.5, 0.5, 1, 2, 4] + ([0] if rule.epsilon == 0 else [])
    full = [(t := generator.choice(powers, size=shape)) - np.sign(t) * rule.epsilon for _ in rule.branches]
    f = np.reshape(rule.factors, (-1, 2))
    if not rule.with_d:
        a, d = full[0] / f[0, 0], None
    elif len(full) == 1:
        a = grid(shape, seed + 1)
        d = (full[0] - f[0, 0] * a) / f[0, 1]
    else:
        determinant = f[0, 0] * f[1, 1] - f[0, 1] * f[1, 0]
        a = (f[1, 1] * full[0] - f[0, 1] * full[1]) / determinant
        d = (f[0, 0] * full[1] - f[1, 0] * full[0]) / determinant
    column = (-1, *[1] * (len(shape) - 2))
    bias = grid(shape[1:2], seed + 2) if rule.with_bias and len(shape) > 1 else None
    d_bias = grid(shape[1:2], seed + 3) if rule.with_d_bias and len(shape) > 1 else None
    residual = grid(shape, seed + 4) if rule.with_residual else None
    z = a if bias is None else a - bias.reshape(column)
    return Arrays(z, d if d_bias is None else d - d_bias.reshape(column), bias, d_bias, residual)


def tensors(arrays: Arrays, dtype: torch.dtype, layout: str) -> tuple[Tensor, ...]:
    """z in the given layout, d and residual in others: they may have any."""
    layouts = (layout, "channels_last", "contiguous", "contiguous", "permuted")
    made = [None if a is None else tensor(a, dtype, la) for a, la in zip(arrays, layouts, strict=True)]
    for a, t in zip(arrays, made, strict=True):
        assert a is None or np.array_equal(statement.array(t), a, equal_nan=True), "a test's input must be exact"
    return tuple(made)


def assert_results(found: tuple[Tensor, ...], like: Tensor, v: np.ndarray, gates: list[np.ndarray]) -> None:
    statement.assert_equal(found[0], v, like)
    for got, want in zip(found[1:], gates, strict=True):
        statement.assert_equal(got, want, like)


def asked_for(found: tuple[Tensor, Tensor, Tensor], rule: Rule) -> tuple[Tensor, ...]:
    """v and the gates of the rule; of two, the second must be empty where one was asked for."""
    if len(rule.branches) == 2:
        return found
    assert found[2].shape == (0,) and found[2].dtype == found[1].dtype
    return found[:2]


def filled(z: Tensor, rule: Rule, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Memory full of what no gate holds, and the gates within: off any alignment, as dense as z, with gaps between."""
    size = z.numel() + 3
    memory = torch.full((len(rule.branches) * size,), 77 if dtype == torch.uint8 else math.nan).to(dtype)
    return memory, [memory.as_strided(z.shape, z.stride(), i * size + 1) for i in range(len(rule.branches))]


def assert_gaps_kept(memory: Tensor, gates: int) -> None:
    for row in memory.view(gates, -1):
        gap = torch.stack([row[0], row[-2], row[-1]])
        assert bool(((gap == 77) | gap.isnan()).all()), f"written beside a gate: {gap.tolist()}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(backend, shape, layout, dtype):
    for seed, rule in enumerate(RULES.values()):
        arrays = exact(shape, rule, seed)
        given = tensors(arrays, dtype, layout)
        with ops.backend(backend):
            found = ops.soft_gate_pack(*given, *rule.scalars())
        assert_results(asked_for(found, rule), given[0], *statement.soft_gate_pack(*arrays, *rule.scalars()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_place(backend, shape, layout, dtype):
    for seed, rule in enumerate(RULES.values()):
        arrays = exact(shape, rule, seed)
        z, *others = tensors(arrays, dtype, layout)
        before = z.data_ptr()
        with ops.backend(backend):
            gates = ops.soft_gate_pack_(z, *others, *rule.scalars())
        assert z.data_ptr() == before
        assert_results((z, *gates), z, *statement.soft_gate_pack(*arrays, *rule.scalars()))


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["epsilon 0, relu", "positive part", "alpha, beta", "alpha, beta, everything"])
def test_gates_are_written_where_they_are_wanted(backend, name, layout, dtype, quantise):
    rule = RULES[name]
    for seed, shape in enumerate([(2, 3, 5, 7), (2, 40, 3, 3), (7, 19), (1, 1), (0, 3, 4)]):
        arrays = exact(shape, rule, seed)
        z, *others = tensors(arrays, dtype, layout)
        memory, out = filled(z, rule, torch.uint8 if quantise else dtype)
        with ops.backend(backend):
            gates = ops.soft_gate_pack_(z, *others, *rule.scalars(), out=out)
        assert all(given is got for given, got in zip(out, gates, strict=True))
        v, wanted = statement.soft_gate_pack(*arrays, *rule.scalars())
        assert_results((z, *gates), z, v, [statement.quantised(q) for q in wanted] if quantise else wanted)
        assert_gaps_kept(memory, len(gates))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_tensor_as_d_and_as_residual(backend, layout, dtype):
    rule = RULES["parts"]
    for seed, shape in enumerate(SHAPES):
        arrays = exact(shape, rule, seed)
        arrays = arrays._replace(residual=arrays.d)
        z, _, bias, _, _ = tensors(arrays, dtype, "contiguous")
        d = tensor(arrays.d, dtype, layout)
        with ops.backend(backend):
            found = ops.soft_gate_pack(z, d, bias, None, d, *rule.scalars())
            gates = ops.soft_gate_pack_(z, d, bias, None, d, *rule.scalars())
        wanted = statement.soft_gate_pack(*arrays, *rule.scalars())
        assert_results(found, z, *wanted)
        assert_results((z, *gates), z, *wanted)
        assert np.array_equal(statement.array(d), arrays.d)


def test_the_residual_is_part_of_the_value_alone(backend):
    z, d, residual = torch.tensor([[2.0, -4.0]]), torch.tensor([[-1.0, 1.0]]), torch.tensor([[100.0, 8.0]])
    bias = torch.tensor([0.0, 2.0])
    with ops.backend(backend):
        v, of_z, _ = ops.soft_gate_pack(z, None, bias, None, residual, epsilon=0.0)
        _, of_both, _ = ops.soft_gate_pack(z, d, bias, None, residual, factors=(1.0, 2.0), epsilon=1.0)
    assert v.tolist() == [[102.0, 6.0]] and of_z.tolist() == [[51.0, -3.0]]
    # D is 2 - 2 and -2 + 2, so that ε alone divides.
    assert of_both.tolist() == [[102.0, 6.0]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["epsilon 0, relu", "positive part", "alpha, beta", "alpha, beta, everything"])
def test_bytes(backend, name, layout, dtype):
    for seed, (rule, shape) in enumerate((RULES[name], s) for s in [(2, 3, 5, 7), (2, 40, 3, 3), (1, 1), (0, 3, 4)]):
        arrays = exact(shape, rule, seed)
        given = tensors(arrays, dtype, layout)
        with ops.backend(backend):
            found = ops.soft_gate_pack(*given, *rule.scalars(), quantise=True)
        v, gates = statement.soft_gate_pack(*arrays, *rule.scalars())
        assert_results(asked_for(found, rule), given[0], v, [statement.quantised(q) for q in gates])


def test_bytes_round_to_the_nearest_and_stay_in_range(backend):
    # 255 q is what a byte holds: beside the halves between whole numbers, the ends, and what lies outside of [0, 1].
    steps = [0, 0.25, 0.49, 0.51, 1, 1.49, 1.51, 127.49, 127.51, 254.49, 254.51, 255, 255.75, 1e9]
    q = torch.tensor(steps) / 255
    # One half is 127.5 exactly and goes up.
    z = torch.cat([q, torch.tensor([0.5, -0.25, -3e38, 3e38, math.nan])])
    with ops.backend(backend):
        v, found, _ = ops.soft_gate_pack(z, torch.ones_like(z), factors=(0.0, 1.0), epsilon=0.0, quantise=True)
    wanted = [0, 0, 0, 1, 1, 1, 2, 127, 128, 254, 255, 255, 255, 255, 128, 0, 0, 255, 0]
    assert torch.equal(v[:-1], z[:-1]) and found.tolist() == wanted


def _random(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, rule: Rule, special: bool
) -> tuple[Tensor | None, ...]:
    def one(size: tuple[int, ...], wanted: bool, layout: str) -> Tensor | None:
        if not wanted:
            return None
        values = torch.randn(size, dtype=torch.float64, device="cpu").numpy()
        if special:
            for value in (np.nan, np.inf, -np.inf, 0.0, -0.0):
                values[torch.rand(size, device="cpu").numpy() < 0.08] = value
        return tensor(values, dtype, layout)

    channels = shape[1:2]
    return (
        one(shape, True, layout),
        one(shape, rule.with_d, "permuted"),
        one(channels, rule.with_bias, "contiguous"),
        one(channels, rule.with_d_bias, "contiguous"),
        one(shape, rule.with_residual, layout),
    )


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", list(RULES))
def test_rounds_at_each_step(backend, name, dtype, special, quantise):
    # In the dtype that is computed in, no step is exact, so their order shows.
    rule = RULES[name]._replace(epsilon=1e-3, factors=tuple(f * 1.1 for f in RULES[name].factors))
    given = _random((2, 19, 5, 7), dtype, "channels_last", rule, special)
    with ops.backend(backend):
        found = ops.soft_gate_pack(*given, *rule.scalars(), quantise)
    arrays = (None if t is None else statement.wide_array(t) for t in given)
    v, gates = statement.soft_gate_pack(*arrays, *rule.scalars())
    assert_results(asked_for(found, rule), given[0], v, [statement.quantised(q) for q in gates] if quantise else gates)
    assert not special or np.isnan(v).any()


@pytest.mark.parametrize("numerator", [0, 1, 2])
def test_around_zero(backend, numerator):
    zeros = torch.tensor([0.0, -0.0, 0.0, -0.0])
    d = torch.tensor([0.0, -0.0, -0.5, 0.5])
    with ops.backend(backend):
        # Where D is 0, of either sign, ε is added; without ε nothing passes.
        _, q, _ = ops.soft_gate_pack(zeros, d, factors=(0.0, 1.0), epsilon=0.5, numerator=numerator)
        _, none, _ = ops.soft_gate_pack(zeros[:2], d[:2], factors=(0.0, 1.0), epsilon=0.0, numerator=numerator)
    # v is 0, which closes the gate but for numerator 1; a closed gate is +0, not a quotient that is -0.
    wanted = [2.0, 2.0, -1.0, 1.0] if numerator == 1 else [0.0] * 4
    assert q.tolist() == wanted and none.tolist() == [0.0, 0.0]
    assert not torch.signbit(torch.cat([q[q == 0], none])).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_divide_in_float32_and_round_once(backend, dtype):
    z, d = (torch.rand(999).to(dtype) + 0.25 for _ in range(2))
    # v rounds to 0 in float16, but its quotient does not.
    tiny = torch.full((3,), 2.0**-24, dtype=torch.float16)
    with ops.backend(backend):
        v, q, _ = ops.soft_gate_pack(z, d, factors=(1.0, 1.0), epsilon=0.0, residual=z)
        small, ratio, _ = ops.soft_gate_pack(tiny, tiny, factors=(0.0, 1.0), epsilon=0.0, hi=2.0**-26)
    y = z.float() + z.float()
    assert torch.equal(v, y.to(dtype)) and torch.equal(q, (y / (z.float() + d.float())).to(dtype))
    assert small.tolist() == [0.0] * 3 and ratio.tolist() == [0.25] * 3


@pytest.mark.parametrize("layout", ["permuted", "sliced"])
def test_in_place_needs_a_dense_tensor(backend, layout):
    z = tensor(grid((2, 3, 5, 7), 1), torch.float32, layout)
    with ops.backend(backend), pytest.raises(RuntimeError, match=r"z must be dense .*z\.contiguous\(\)"):
        ops.soft_gate_pack_(z)


_C = torch.zeros(3, device="cpu")
_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"z": torch.zeros(2, 3, dtype=torch.int32)}, "z must be float32, float64, float16 or bfloat16"),
    ({"d": torch.zeros(2, 3, 5)}, "d must have the shape of z"),
    ({"d": torch.zeros(2, 3, 4, dtype=torch.float64)}, "d must have the dtype of z"),
    ({"residual": torch.zeros(2, 3)}, "residual must have the shape of z"),
    ({"residual": torch.zeros(2, 3, 4, dtype=torch.float16)}, "residual must have the dtype of z"),
    ({"bias": torch.zeros(4)}, r"bias must have shape \(C,\) for z"),
    ({"bias": _C.double()}, "bias must have z's dtype"),
    ({"z": torch.zeros(3), "bias": _C}, r"bias must have shape \(C,\) for z"),
    ({"d": torch.zeros(2, 3, 4), "d_bias": torch.zeros(3, 1)}, r"d_bias must have shape \(C,\) for z"),
    ({"d": torch.zeros(2, 3, 4), "d_bias": _C.half()}, "d_bias must have z's dtype"),
    ({"d_bias": _C}, "d_bias must be None without d"),
    ({"branches": ()}, r"branches must be one or two of 0 \(all\)"),
    ({"branches": (0, 1, 2), "factors": (1.0,) * 6}, r"branches must be one or two of 0 \(all\)"),
    ({"branches": (3,)}, r"branches must be one or two of 0 \(all\)"),
    ({"branches": (-1,)}, r"branches must be one or two of 0 \(all\)"),
    ({"factors": (1.0,)}, r"factors must hold two numbers for each of 1 gate\(s\)"),
    ({"branches": (0, 0)}, r"factors must hold two numbers for each of 2 gate\(s\)"),
    ({"epsilon": -1e-6}, "epsilon must not be negative, got -1e-06"),
    ({"epsilon": math.nan}, "epsilon must not be negative, got nan"),
    ({"numerator": 3}, r"numerator must be 0 \(v\)"),
    ({"numerator": -1}, r"numerator must be 0 \(v\)"),
]


@pytest.mark.parametrize(("arguments", "message"), _WRONG)
@pytest.mark.parametrize("name", ["soft_gate_pack", "soft_gate_pack_"])
def test_refuses(backend, name, arguments, message):
    device = torch.zeros(()).device
    given = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in arguments.items()}
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        getattr(ops, name)(**{"z": torch.zeros(2, 3, 4), **given})


_GATE = torch.zeros(2, 3, 4, device="cpu")
_WRONG_OUT: list[tuple[tuple[int, ...], tuple[Tensor, ...], str]] = [
    ((0,), (_GATE.int(),), "q must have z's dtype, .*or be uint8"),
    ((0,), (_GATE.double(),), "q must have z's dtype, .*or be uint8"),
    ((0,), (torch.zeros(2, 3, 5, device="cpu"),), r"q must have z's shape and dense order, \(2, 3, 4\)"),
    ((0,), (_GATE[None],), "q must have z's shape and dense order"),
    ((0,), (tensor(_GATE.numpy(), torch.float32, "channels_last"),), "q must have .*order, .*strides.*got .*strides"),
    ((0,), (torch.zeros(2, 3, 8, device="cpu")[..., ::2],), "q must have z's shape and dense order"),
    ((0, 1), (_GATE, _GATE.byte()), r"second must be (torch\.float32|Float) on "),
    ((0, 1), (_GATE.byte(), _GATE), r"second must be (torch\.uint8|Byte) on "),
    ((0, 1), (_GATE, _GATE[:1]), "second must have z's shape and dense order"),
    ((0,), (), r"out must hold a tensor for each of 1 gate\(s\), got 0"),
    ((0,), (_GATE, _GATE), r"out must hold a tensor for each of 1 gate\(s\), got 2"),
    ((0, 1), (_GATE,), r"out must hold a tensor for each of 2 gate\(s\), got 1"),
]


@pytest.mark.parametrize(("branches", "out", "message"), _WRONG_OUT)
def test_refuses_to_write_gates(backend, branches, out, message):
    z = torch.ones(2, 3, 4)
    out = [gate.to(z.device).as_strided(gate.shape, gate.stride()) for gate in out]
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        ops.soft_gate_pack_(z, factors=(1.0, 0.0) * len(branches), branches=branches, out=out)
    assert bool((z == 1).all())


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_gate_for_two_branches_only(backend, count):
    z, q = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    second = q.clone() if count == 1 else None
    numbers = ([1.0, 0.0] * count, [0] * count, 0.0, 0.0, INF, 0)
    with ops.backend(backend), pytest.raises(RuntimeError, match=f"second must be given for two .*got {count} branch"):
        ops._implementation("soft_gate_pack_", z)(z, q, second, None, None, None, None, *numbers)
