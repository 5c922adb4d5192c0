"""soft_gate_pack and soft_gate on Triton: every variant of the kernels against the reference, bit for bit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES
from tests.triton.comparison import LAYOUTS, SHAPES, compare, random

INF = math.inf
# Channels that fill rows of the tile and channels that do not; less than a block.
SMALL = {"aligned": (1, 16, 4, 8), "odd": (2, 5, 7, 3)}
# Optional tensors, then the factors and branches of one gate or two.
TENSORS = {
    "z": (),
    "d": ("d",),
    "biases": ("d", "bias", "d_bias"),
    "d_bias": ("d", "d_bias"),
    "residual": ("residual",),
    "all": ("d", "bias", "d_bias", "residual"),
}
GATES = {
    "one": ([0.3, 0.7], [0]),
    "above": ([0.1, 1.0], [1]),
    "below": ([1 / 3, -1e-3], [2]),
    "two": ([0.0, 1.0, 1.0, -1.0], [1, 2]),
    "two, all": ([0.1, 1.0, 0.7, -0.3], [2, 0]),
}
# Every value that is special, and some that are not.
SPECIAL = [math.nan, INF, -INF, 0.0, -0.0, 1e-30, -1e-30, 0.5, -0.5, 3.0, -3.0, 7.5]


@pytest.fixture(autouse=True)
def triton_answers(binding):
    with ops.backend("triton"):
        yield


def _arguments(make, names: tuple[str, ...], channels: int, dtype: torch.dtype) -> list[Tensor | None]:
    """z, d, bias, d_bias, residual; those not named are None."""
    vectors = {name: torch.randn(channels).to(dtype) for name in ("bias", "d_bias")}
    return [make()] + [
        None if name not in names else vectors[name] if name in vectors else make()
        for name in ("d", "bias", "d_bias", "residual")
    ]


def _compare_in_place(z: Tensor, *others, quantise: bool) -> tuple[Tensor, ...]:
    """v and the gates of soft_gate_pack_; `others` as soft_gate_pack has them, without `quantise`."""
    branches = others[5]
    gates = [torch.full_like(z, 99, dtype=torch.uint8 if quantise else z.dtype) for _ in branches]
    return compare("soft_gate_pack_", z, *(*gates, None)[:2], *others)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_several_programs(launches, shape, layout, dtype):
    tensors = _arguments(lambda: random(SHAPES[shape], dtype, layout), TENSORS["all"], SHAPES[shape][1], dtype)
    _, first, _ = compare("soft_gate_pack", *tensors, *GATES["two"], 1e-6, 0.1, 1.7, 0, False)
    assert launches.pop() > ("soft_gate_pack", 2)
    _, _, second = _compare_in_place(*tensors, *GATES["two"], 0.25, 0.0, INF, 2, quantise=True)
    assert launches.pop() > ("soft_gate_pack", 2)
    g, skip = (random((2 * first.shape[0], *first.shape[1:]), dtype, layout) for _ in range(2))
    compare("soft_gate", g, first, skip)
    assert launches.pop() > ("soft_gate", 4)
    compare("soft_gate_", g, second, None)
    assert launches.pop() > ("soft_gate", 4)
    assert not launches


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("tensors", TENSORS)
def test_variants(tensors, gates, dtype, quantise):
    for number, (shape, layout) in enumerate(itertools.product(SMALL, LAYOUTS)):
        given = _arguments(
            lambda shape=shape, layout=layout: random(SMALL[shape], dtype, layout),
            TENSORS[tensors],
            SMALL[shape][1],
            dtype,
        )
        # ReLU, ReLU6 and what has no bounds take turns, as do the numerators.
        low, high = ((0.0, INF), (0.0, 6.0), (-INF, INF))[number % 3]
        numbers = (*GATES[gates], 0.25, low, high)
        compare("soft_gate_pack", *given, *numbers, number % 3, quantise)
        _compare_in_place(*given, *numbers, (number + 1) % 3, quantise=quantise)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("numerator", range(3))
@pytest.mark.parametrize("branch", range(3))
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_special_values(epsilon, branch, numerator, dtype):
    z, d = (torch.tensor(x, dtype=dtype) for x in zip(*itertools.product(SPECIAL, SPECIAL), strict=True))
    # The last: d is y's negative on the diagonal, where D is 0 then.
    for factors, quantise in itertools.product(([0.0, 1.0], [1.0, -1.0], [-0.0, -1.0]), (False, True)):
        compare("soft_gate_pack", z, d, None, None, None, factors, [branch], epsilon, 0.0, 6.0, numerator, quantise)
    v, q, _ = ops.soft_gate_pack(z, d, None, None, None, [1.0, -1.0], [branch], 0.0, numerator=numerator)
    assert not q[(z == d) & z.isfinite()].any() and torch.equal(v.isnan(), z.isnan())
    compare("soft_gate", z, d, None)
    compare("soft_gate", z, d, d)
    levels = torch.arange(z.numel()).to(torch.uint8)
    compare("soft_gate", z, levels, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bytes_round_half_up(dtype):
    z = torch.arange(-40, 600).to(dtype)
    _, q, _ = compare(
        "soft_gate_pack", z, torch.full_like(z, 510), None, None, None, [0.0, 1.0], [0], 0.0, -INF, INF, 0, True
    )
    # v / 510 is half of a byte's step.
    assert q.tolist() == [min(max((k + 1) // 2, 0), 255) for k in range(-40, 600)]


def test_every_byte_opens_by_its_255th_part():
    levels = torch.arange(256, dtype=torch.uint8)
    for dtype in DTYPES:
        g = torch.randn(3 * 256).to(dtype)
        out = compare("soft_gate", g.view(3, 256), levels[None], None)[0]
        exact = (g.double().view(3, 256) * levels.double() / 255).to(dtype)
        torch.testing.assert_close(out, exact, rtol=2 * torch.finfo(dtype).eps, atol=0)
        assert torch.equal(out[:, 255], g.view(3, 256)[:, 255])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", statement.LAYOUTS)
def test_strides(layout, dtype):
    def make(shape=(2, 5, 7, 3), layout=layout):
        return statement.tensor(torch.randn(shape).numpy(), dtype, layout)

    d, residual = make(layout="permuted"), make(layout="sliced")
    bias, d_bias = torch.randn(10).to(dtype)[::2], torch.randn(1).to(dtype).expand(5)
    numbers = (*GATES["two"], 0.25, 0.0, INF, 0)
    _, first, second = compare("soft_gate_pack", make(), d, bias, d_bias, residual, *numbers, False)
    g = make((6, 5, 7, 3))
    compare("soft_gate", g, first, make((6, 5, 7, 3), "permuted"))
    # Gates in another order than the signal's.
    compare("soft_gate", g, second.transpose(2, 3).contiguous().transpose(2, 3), make((6, 5, 7, 3), "sliced"))
    if layout in LAYOUTS:
        _compare_in_place(make(), d, bias, d_bias, residual, *numbers, quantise=False)
        _compare_in_place(make(), d, bias, d_bias, d, *numbers, quantise=False)
        compare(
            "soft_gate_", g, statement.tensor(first.double().numpy(), dtype, "permuted"), residual.repeat(3, 1, 1, 1)
        )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("row", [(2, 3, 5, 7), (1, 16, 4, 8), (2, 33, 3, 3), (7, 19), (45,), (1, 1, 1, 1)], ids=str)
def test_classes_share_gates(row, dtype):
    gates = random(row, dtype, "contiguous") if len(row) != 4 else random(row, dtype, "channels_last")
    levels = torch.randint(0, 256, row, dtype=torch.uint8)
    for classes in (1, 2, 3):
        g, skip = (random((classes * row[0], *row[1:]), dtype, "contiguous") for _ in range(2))
        if len(row) == 4:
            g = g.to(memory_format=torch.channels_last)
        compare("soft_gate", g, gates, None)
        compare("soft_gate_", g, gates, skip)
        compare("soft_gate", g, levels, skip)


@pytest.mark.parametrize("numbers", [(1 / 3, 0.1, 1e-9), (1.1, -1e-17, 1e-300), (1e-200, 1e-200, 0.1)], ids=str)
def test_numbers_of_float64_are_not_rounded(numbers):
    f, f_d, epsilon = numbers
    z, d = (torch.randn(200, dtype=torch.float64) for _ in range(2))
    factors = [f, f_d, f_d, f]
    compare("soft_gate_pack", z, d, None, None, None, factors, [0, 1], epsilon, -0.1, 1 / 3, 0, False)
    tiny = z * 1e-290
    compare("soft_gate_pack", tiny, None, None, None, None, [1.0, 0.0], [0], epsilon, -INF, INF, 1, False)


@pytest.mark.parametrize("tensors", TENSORS)
def test_v_is_stored_in_place_only_where_it_differs(binding, monkeypatch, tensors):
    stored, real = [], binding.soft_gate_pack_kernel.launch

    def launch(*arguments, **constants):
        stored.append(constants["STORE_V"])
        real(*arguments, **constants)

    monkeypatch.setattr(binding.soft_gate_pack_kernel, "launch", launch)
    given = _arguments(lambda: random((2, 5, 7, 3), torch.bfloat16, "contiguous"), TENSORS[tensors], 5, torch.bfloat16)
    bounds = ((-INF, INF), (0.0, INF), (-INF, 6.0))
    for low, high in bounds:
        _compare_in_place(*given, *GATES["two"], 0.25, low, high, 0, quantise=False)
    added = "bias" in TENSORS[tensors] or "residual" in TENSORS[tensors]
    assert stored == [added, True, True]
    stored.clear()
    compare("soft_gate_pack", *given, *GATES["one"], 0.25, -INF, INF, 0, False)
    assert stored == [True]


def test_arguments_that_share_memory():
    z = random((2, 5, 7, 3), torch.float32, "channels_last")
    for name in ("soft_gate_pack_", "soft_gate_"):
        _, reference, triton = ops._IMPLEMENTATIONS[name]
        results = []
        for answer in (reference, triton):
            x = z.clone()
            gates = [torch.empty_like(x) for _ in range(2)] if name == "soft_gate_pack_" else []
            if gates:
                answer(x, *gates, x, None, None, x, *GATES["two"], 0.25, 0.0, 6.0, 0)
            else:
                answer(x, x, x)
            results.append([x, *gates])
        for want, got in zip(*results, strict=True):
            assert torch.equal(got.nan_to_num(77.0), want.nan_to_num(77.0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gates_of_two_parts(binding, layout, dtype):
    """The gates of α-β: of v over the part z and over the part d, which is also the residual."""
    z, bias = (x.to(dtype) for x in (torch.randn(2, 8, 7, 5).abs(), torch.randn(8).abs()))
    z = z.to(memory_format=LAYOUTS[layout])
    d = -random(z.shape, dtype, layout, special=False).abs()
    gates = [torch.full_like(z, 99) for _ in range(2)]
    v = z.clone()
    binding.soft_gate_pack_(v, *gates, d, bias, None, d, [1.0, 0.0, 0.0, 1.0], [0, 0], 0.25, 0.0, INF, 0)
    part, below = (z.double() + bias.double().view(-1, 1, 1)), d.double()
    want = (part + below).relu()
    close = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps}
    for got, exact in zip((v, *gates), (want, want / (part + 0.25), want / (below - 0.25)), strict=True):
        torch.testing.assert_close(got.double(), exact, **close)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (0,)], ids=str)
def test_nothing_at_all(launches, shape):
    z = torch.empty(shape)
    for quantise in (False, True):
        v, first, second = compare("soft_gate_pack", z, z, None, None, None, *GATES["two"], 0.25, 0.0, INF, 0, quantise)
        assert v.shape == first.shape == second.shape == shape
        _compare_in_place(z, None, None, None, None, *GATES["one"], 0.25, 0.0, INF, 0, quantise=quantise)
        compare("soft_gate", z, first, z)
        compare("soft_gate_", z, first, None)
    assert not launches


def test_checks_do_not_hide_behind_plans(binding):
    binding._plans.clear()
    z, q = torch.randn(2, 3, 4, 4), torch.rand(1, 3, 4, 4)
    last, two = z.to(memory_format=torch.channels_last), {"factors": [1.0, 0.0] * 2, "branches": [1, 2]}
    nothing = (None,) * 5
    for epsilon in (0.25, 0.5):
        ops.soft_gate_pack(z, epsilon=epsilon)
        ops.soft_gate_pack_(z.clone(), epsilon=epsilon)
        ops.soft_gate_pack_(z.clone(), epsilon=epsilon, **two)
        ops.soft_gate(z, q)
    assert len(binding._plans) == 4
    for call, message in (
        (lambda: ops.soft_gate_pack(z, epsilon=-0.5), "epsilon must not be negative"),
        (lambda: ops.soft_gate_pack(z, epsilon=math.nan), "epsilon must not be negative"),
        (lambda: ops.soft_gate_pack(z, branches=[3]), "branches must be"),
        (lambda: ops.soft_gate_pack(z, factors=[1.0]), "factors must hold two numbers"),
        (lambda: ops.soft_gate_pack(z, numerator=3), "numerator must be"),
        (lambda: ops.soft_gate_pack(z, d_bias=torch.randn(3)), "d_bias must be None without d"),
        (lambda: ops.soft_gate_pack(z, bias=torch.randn(2)), "bias must have shape"),
        (lambda: ops.soft_gate_pack_(z[..., ::2]), "z must be dense"),
        (lambda: ops.soft_gate_pack_(z, out=[z.double()]), "q must have z's dtype"),
        (lambda: ops.soft_gate_pack_(z, out=[last]), "q must have z's shape and dense order"),
        (lambda: ops.soft_gate_pack_(z, out=[z * 1, last], **two), "second must have z's shape and dense order"),
        (lambda: binding.soft_gate_pack_(z, z * 1, *nothing, *two.values(), 0.25, 0.0, INF, 0), "second must be given"),
        (lambda: ops.soft_gate(z, q.double()), "q must have the dtype of g"),
        (lambda: ops.soft_gate(z, q[..., :2]), "q must have g's shape"),
        (lambda: ops.soft_gate(z, q, z[:1]), "skip must have the shape of g"),
        (lambda: ops.soft_gate_(z[..., ::2], q[..., ::2]), "g must be dense"),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()
    assert len(binding._plans) == 4
    # Numbers that change what a call returns have plans of their own.
    assert ops.soft_gate_pack(z, quantise=True)[1].dtype == torch.uint8
    assert ops.soft_gate_pack(z, **two)[2].shape == z.shape
    assert ops.soft_gate_pack(z)[2].shape == (0,)
