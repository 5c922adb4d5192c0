"""write_coalitions_ on Triton: several programs, rows that share one, plans; the rest is in tests/ops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reluxfast import ops
from tests.ops.statement import DTYPES
from tests.support import assert_same_bits
from tests.triton.comparison import compare, random

# Elements of a block in the interpreter, by the size of an element of out.
BLOCK = {2: 8192, 4: 4096, 8: 2048}


@pytest.fixture(autouse=True)
def triton_answers(binding):
    with ops.backend("triton"):
        yield


def _arguments(count: int, d: int, dtype: torch.dtype, made: torch.dtype, players: int = 50) -> tuple[Tensor, ...]:
    labels = torch.randint(0, players, (d,)).int()
    ranks = torch.stack([torch.randperm(players) for _ in range(3)]).int()
    jobs = torch.stack([torch.randint(0, most, (count,)) for most in (4, 2, 3, players + 1)], dim=1).int()
    x, background = random((4, d), dtype, "contiguous"), random((2, d), dtype, "contiguous")
    return torch.full((count, d), 99, dtype=made), x, background, labels, ranks, jobs


@pytest.mark.parametrize("made", DTYPES, ids=str)
def test_rows_of_several_programs(launches, made):
    block = BLOCK[made.itemsize]
    for d in (2 * block, 2 * block + 37):
        compare("write_coalitions_", *_arguments(3, d, made, made))
        assert launches.pop() == ("write_coalitions", 3 * -(-d // block))
    assert not launches


@pytest.mark.parametrize("made", DTYPES, ids=str)
@pytest.mark.parametrize("d", [1, 3, 16, 30])
def test_programs_of_several_rows(launches, d, made):
    together = BLOCK[made.itemsize] // (1 if d == 1 else 4 if d == 3 else 16 if d == 16 else 32)
    for count in (together, together + 1):
        compare("write_coalitions_", *_arguments(count, d, made, made, players=7))
        assert launches.pop() == ("write_coalitions", 1 + (count > together))
    assert not launches


@pytest.mark.parametrize("made", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("d", [30, 10000])
def test_rounded(launches, d, made):
    compare("write_coalitions_", *_arguments(5, d, torch.float32, made))
    assert launches.pop()[0] == "write_coalitions"


def test_bfloat16_rounds_to_nearest_even():
    # Every pattern of the bits that rounding cuts off, next to even and to odd neighbours, ties included.
    x = torch.arange(0x3F7E_0000, 0x3F83_0000, 0x111, dtype=torch.int32).view(torch.float32)[None]
    player, jobs = torch.zeros(x.shape[1], dtype=torch.int32), torch.tensor([[0, 0, 0, 1]], dtype=torch.int32)
    out = torch.empty(1, x.shape[1], dtype=torch.bfloat16)
    ops.write_coalitions_(out, x, -x, player, torch.zeros(1, 1, dtype=torch.int32), jobs)
    assert_same_bits(out, x.bfloat16())


def test_checks_do_not_hide_behind_plans(binding):
    binding._plans.clear()
    given = _arguments(3, 8, torch.float32, torch.float32)
    out, x, background, labels, ranks, jobs = given
    for _ in range(2):
        ops.write_coalitions_(*given)
        ops.write_coalitions_(out.half(), *given[1:])
    assert len(binding._plans) == 2
    for wrong, message in (
        ((out[:2], x, background, labels, ranks, jobs), "out must have shape"),
        ((out, x, background, labels.long(), ranks, jobs), "labels must be int32"),
        ((out, x, background, labels, ranks, jobs.repeat(1, 2)[:, ::2]), "jobs must be contiguous"),
        ((out, x, background, labels, ranks[:0], jobs), "must not be empty"),
        ((out.double(), x, background, labels, ranks, jobs), "out must have the dtype of x"),
    ):
        with pytest.raises(RuntimeError, match=message):
            ops.write_coalitions_(*wrong)
    assert len(binding._plans) == 2


def test_nothing_at_all(launches):
    for count, d in ((0, 5), (3, 0)):
        compare("write_coalitions_", *_arguments(count, d, torch.float32, torch.float32))
    assert not launches
