"""Triton where the tests of every backend do not reach: several programs, wide indices, odd addresses, plans."""

from __future__ import annotations

from unittest.mock import Mock, patch

import pytest
import torch

from reluxfast import ops
from tests.ops.statement import DTYPES
from tests.triton.comparison import LAYOUTS, SHAPES, compare, random

POOL = ([3, 2], [2, 1], [1, 1], [1, 1])


@pytest.fixture(autouse=True)
def triton_answers(binding):
    with ops.backend("triton"):
        yield


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_several_programs(launches, shape, layout, dtype):
    x, residual = (random(SHAPES[shape], dtype, layout) for _ in range(2))
    bias = torch.randn(x.shape[1]).to(dtype)
    _, mask = compare("relu_pack", x, bias, residual, 0.1, 1.7, True)
    assert launches.pop() > ("relu_pack", 2)
    g, skip = (random((2 * x.shape[0], *x.shape[1:]), dtype, layout) for _ in range(2))
    compare("gate", g, mask, skip, 3, x.numel())
    assert launches.pop() > ("gate", 4)
    y, winner, bits = compare("max_pool_pack", x, *POOL, False, True, True)
    assert launches.pop() > ("max_pool_pack", 1)
    g = random((2 * y.shape[0], *y.shape[1:]), dtype, layout, special=False)
    compare("max_pool_scatter", g, winner, bits, x.shape[2:], *POOL, 3, y.numel())
    assert launches.pop() > ("max_pool_scatter", 2)
    assert not launches


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_indices_of_64_bits(binding, shape, layout):
    """What a tensor of more than 2**31 elements would use, on a small one."""
    x = random(SHAPES[shape], torch.float32, layout)[:1, :, :9].contiguous(memory_format=LAYOUTS[layout])
    bias = torch.randn(x.shape[1])
    binding._plans.clear()
    wide = Mock(return_value=binding.max_pool_kernels.tl.int64)
    with (
        patch.object(binding.relu_pack_kernel, "index_type", wide),
        patch.object(binding.max_pool_kernels, "index_type", wide),
        patch.object(binding.soft_gate_pack_kernel, "index_type", wide),
    ):
        compare("relu_pack", x, bias, None, 0.0, 6.0, True)
        y, winner, bits = compare("max_pool_pack", x, *POOL, False, True, True)
        compare("max_pool_scatter", y, winner, bits, x.shape[2:], *POOL, 3, y.numel())
        compare("soft_gate_pack", x, x, bias, -bias, None, [0.5, 1.0], [0], 0.25, 0.0, 6.0, 0, False)
    assert wide.call_count == 4
    binding._plans.clear()


def test_wide_indices_are_chosen_where_they_are_needed(binding):
    chosen = [binding.max_pool_kernels.index_type(n, 1024) for n in (2**31 - 1025, 2**31 - 1024, 2**40)]
    assert [str(c) for c in chosen] == ["int32", "int64", "int64"]


@pytest.mark.parametrize("bounds", [(0.1, 0.3), (-1e-300, 1e300), (0.0, float("inf"))], ids=str)
def test_bounds_of_float64_are_not_rounded(bounds):
    x = torch.tensor([0.1, 0.1 + 2**-56, 0.3, 0.3 - 2**-54, -1e-300, -1e-301, 1e300, 5.0], dtype=torch.float64)
    compare("relu_pack", x, None, None, *bounds, True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bias_with_gaps(layout):
    x = random((2, 5, 3, 4), torch.float32, layout)
    compare("relu_pack", x, torch.randn(10)[::2], None, 0.0, 6.0, True)
    compare("relu_pack", x, torch.randn(1).expand(5), None, 0.0, 6.0, True)


def test_packed_bytes_at_odd_addresses(binding):
    g = torch.randn(2, 8, 4, 4)
    whole = torch.randint(0, 256, (33,), dtype=torch.uint8)
    mask = whole[1:]
    # A GPU cannot read a word there; the interpreter could.
    assert mask.data_ptr() % 4 and binding._words(mask).data_ptr() % 4 == 0
    assert binding._words(whole) is whole
    compare("gate", g, mask, None, 1, g.numel())
    winner = torch.randint(0, 256, (65,), dtype=torch.uint8)[1:]
    compare("max_pool_scatter", g, winner, mask, [8, 8], [2, 2], [2, 2], [0, 0], [1, 1], 1, g.numel())


def test_no_window_at_all_gives_zeros():
    g, none = torch.empty(2, 3, 0, 2), torch.empty(0, dtype=torch.uint8)
    out = ops.max_pool_scatter(g, none, None, [1, 5], [2, 2], [2, 2], [0, 0], [1, 1])
    assert out.shape == (2, 3, 1, 5) and not out.any()


@pytest.mark.parametrize("mode", range(4))
def test_bfloat16_rounds_to_nearest_even(mode):
    # Every pattern of the bits that rounding cuts off, next to even and to odd neighbours, ties included.
    x = (torch.arange(0x3F7E_0000, 0x3F83_0000, 0x111, dtype=torch.int32)).view(torch.float32)
    g, skip = x.bfloat16(), (x - x.bfloat16().float()).bfloat16()
    s = g.float() + skip.float()
    assert (s.bfloat16() != s.to(torch.float64).bfloat16()).sum() == 0 and (s.bfloat16().float() != s).any()
    out = ops.gate(g, torch.full((-(-x.numel() // 32) * 4,), 255, dtype=torch.uint8), skip, mode)
    assert torch.equal(out, torch.where(s > 0, s, 0).bfloat16() if mode & 2 else s.bfloat16())


def test_a_plan_is_made_once_and_checks_do_not_hide_behind_it(binding):
    binding._plans.clear()
    x, mask = torch.randn(2, 3, 4, 4), torch.zeros(12, dtype=torch.uint8)
    for _ in range(3):
        ops.gate(x, mask)
    assert len(binding._plans) == 1
    with pytest.raises(RuntimeError, match="skip must have the dtype of g"):
        ops.gate(x, mask, x.double())
    with pytest.raises(RuntimeError, match="mask must hold 12 bytes"):
        ops.gate(x, mask[:8])
    with pytest.raises(RuntimeError, match="mode must be"):
        ops.gate(x, mask, mode=7)
    assert len(binding._plans) == 1
    with patch.object(binding, "_MOST_PLANS", 2):
        for size in range(1, 6):
            ops.gate(torch.ones(size), None, mode=2)
            assert len(binding._plans) <= 2


def _one_coalition(d: int) -> tuple[torch.Tensor, ...]:
    """Background, labels, ranks and jobs of write_coalitions_."""
    players = torch.arange(d, dtype=torch.int32)
    return torch.zeros(1, d), players, players.view(1, d), torch.tensor([[0, 0, 0, d // 2]], dtype=torch.int32)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ops.relu_pack(x),
        lambda x: ops.relu_pack_(x * 1),
        lambda x: ops.gate(x, None, None, 2),
        lambda x: ops.max_pool_pack(x, [2, 2], [2, 2], [0, 0], [1, 1]),
        lambda x: ops.soft_gate_pack(x),
        lambda x: ops.soft_gate_pack_(x * 1),
        lambda x: ops.soft_gate(x.detach(), x),
        lambda x: ops.soft_gate_(x * 1, x.detach()),
        lambda x: ops.write_coalitions_(torch.empty(1, 32), x.view(1, 32), *_one_coalition(32)),
    ],
)
def test_a_derivative_is_refused(call):
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"has no derivative.*torch\.no_grad"):
        call(x)
    with torch.no_grad():
        call(x)
