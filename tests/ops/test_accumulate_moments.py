"""accumulate_moments_ against its statement in Python, and the promises of its kernel."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from reluxfast import ops
from tests.device import NEEDS_CPP
from tests.ops import statement

DTYPES = [torch.float32, torch.float64]


class State(NamedTuple):
    """The arguments that a call changes."""

    count: Tensor
    mean: Tensor
    m2: Tensor

    def add(self, rows: Tensor, units: Tensor) -> State:
        """The state after a call of the op, this one left as it is."""
        changed = State(*(x.clone() for x in self))
        assert ops.accumulate_moments_(*changed, rows, units) is None
        return changed


def state(rows: int, *shape: int, seed: int = 0) -> State:
    """A state as some units leave it."""
    generator = np.random.default_rng(seed)
    count = torch.tensor(generator.integers(0, 50, rows))
    mean, m2 = (torch.tensor(generator.standard_normal((rows, *shape))) for _ in range(2))
    return State(count, mean, m2.square())


def case(rows: int, some: int, units: int, n: int, outputs: int, dtype: torch.dtype) -> tuple[State, Tensor, Tensor]:
    """A state, rows in no order, and units whose mean is far from 0."""
    generator = np.random.default_rng(rows + some + units + n)
    values = generator.standard_normal((some, units, n, outputs)) * 3 + 10
    which = torch.tensor(generator.permutation(rows)[:some])
    return state(rows, n, outputs), which, torch.tensor(values, dtype=dtype)


def assert_same(found: State, wanted: State | tuple) -> None:
    """Every element is equal; NaN equals NaN."""
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got.cpu().numpy(), want.cpu().numpy() if isinstance(want, Tensor) else want)


def assert_stated(before: State, rows: Tensor, units: Tensor) -> None:
    """The active backend adds as the statement does."""
    given = [x.cpu().numpy() for x in (*before, rows, units)]
    assert_same(before.add(rows, units), statement.accumulate_moments(*given))


SIZES = [
    (5, 3, 7, 30, 1),
    (4, 4, 3, 9, 3),
    (1, 1, 1, 1, 1),
    (6, 6, 2, 1, 10),
    (3, 2, 5, 255, 1),
    (2, 1, 4, 256, 1),
    (3, 2, 3, 257, 2),
    (3, 0, 4, 6, 1),
    (3, 2, 0, 6, 1),
    (3, 2, 4, 0, 1),
    (3, 2, 4, 6, 0),
    (0, 0, 4, 6, 1),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values(answers, sizes, dtype):
    assert_stated(*case(*sizes, dtype))


def test_values_by_hand(answers):
    zero = State(torch.zeros(2).long(), *torch.zeros(2, 2, 1, 1, dtype=torch.float64))
    count, mean, m2 = zero.add(torch.tensor([1]), torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1))
    assert (count.tolist(), mean.flatten().tolist(), m2.flatten().tolist()) == ([0, 4], [0.0, 2.5], [0.0, 5.0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_moments_are_those_of_the_definition(answers, dtype):
    _, rows, units = case(4, 4, 60, 5, 2, dtype)
    zero = State(torch.zeros(4).long(), *torch.zeros(2, 4, 5, 2, dtype=torch.float64))
    count, mean, m2 = zero.add(rows, units)
    exact = units.double()
    center = exact.mean(1, keepdim=True)
    assert count.tolist() == [60] * 4
    # 60 roundings of numbers around 10 and around 540.
    assert torch.allclose(mean[rows], center.squeeze(1), rtol=60 * 2**-53, atol=0)
    assert torch.allclose(m2[rows], (exact - center).square().sum(1), rtol=1e-13, atol=0)


def test_products_are_rounded_by_themselves(answers):
    """The product 2 (1 + 2^-30)^2 is 2 + 2^-28, and 2^-59 more only where it is not rounded before the sum."""
    count, mean, m2 = (torch.ones(1).long(), *torch.zeros(2, 1, 1, 1, dtype=torch.float64))
    m2.fill_(-2 - 2.0**-28)
    unit = torch.full((1, 1, 1, 1), 2 + 2.0**-29, dtype=torch.float64)
    _, mean, m2 = State(count, mean, m2).add(torch.tensor([0]), unit)
    assert (mean.item(), m2.item()) == (1 + 2.0**-30, 0.0)


@pytest.mark.parametrize("special", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_where_it_is(answers, special):
    before, rows, units = case(3, 2, 5, 7, 2, torch.float32)
    units[0, 2, 3, 1] = special
    after = before.add(rows, units)
    assert not bool(after.mean[rows[0], 3, 1].isfinite())
    assert int((~after.mean.isfinite()).sum()) == 1 and int((~after.m2.isfinite()).sum()) == 1
    assert_stated(before, rows, units)


def test_counts_beyond_32_bits(answers):
    before, rows, units = case(2, 2, 3, 4, 1, torch.float64)
    before.count.add_(2**40)
    assert_stated(before, rows, units)


def test_strides_of_every_kind(answers):
    before, rows, units = case(4, 3, 5, 6, 2, torch.float32)
    wanted = before.add(rows, units)
    wide = torch.stack([rows, torch.full_like(rows, 99)], dim=-1)[:, 0]
    for strided in (
        units.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        torch.stack([units, torch.full_like(units, 99)], dim=-1)[..., 0],
    ):
        assert not strided.is_contiguous() and not wide.is_contiguous()
        assert_same(before.add(wide, strided), wanted)
    one = units[:, :1].expand(-1, 4, -1, -1)
    assert_same(before.add(rows, one), before.add(rows, one.contiguous()))


def test_same_bits_however_units_are_spread_over_calls(answers):
    before, rows, units = case(9, 7, 20, 11, 2, torch.float32)
    whole = before.add(rows, units)
    parts = before
    for some in units.split([1, 6, 13], 1):
        parts = parts.add(rows, some)
    assert_same(parts, whole)
    alone = before
    for r in range(7):
        alone = alone.add(rows[r : r + 1], units[r : r + 1])
    assert_same(alone, whole)
    others = torch.tensor([r for r in range(9) if r not in rows.tolist()])
    for after, untouched in zip(whole, before, strict=True):
        assert len(others) == 2 and torch.equal(after[others], untouched[others])


@NEEDS_CPP
@pytest.mark.parametrize("sizes", [(64, 64, 25, 30, 1), (4, 2, 9, 9001, 1), (1, 1, 3001, 40, 1), (3, 3, 2, 3001, 10)])
def test_threads_change_nothing(sizes):
    given = case(*sizes, torch.float32)
    with ops.backend("reference"):
        wanted = given[0].add(*given[1:])
    with ops.backend("cpp"):
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            assert_same(given[0].add(*given[1:]), wanted)


def _valid() -> dict[str, Tensor]:
    before, rows, units = case(4, 3, 2, 5, 2, torch.float32)
    return {**before._asdict(), "rows": rows, "units": units}


REFUSED = [
    ("units", lambda u: u[0], "units must have shape (R, G, n, K), got (2, 5, 2)"),
    ("units", lambda u: u.half(), "units must be float32 or float64, got torch.float16; convert it with .double()"),
    ("count", lambda c: c[None], "count must have shape (N,), got (1, 4)"),
    (
        "count",
        lambda c: c[1:],
        "mean must have shape (N, n, K) with count's N and units' n and K, (3, 5, 2), got (4, 5, 2)",
    ),
    (
        "mean",
        lambda m: m[:, 1:],
        "mean must have shape (N, n, K) with count's N and units' n and K, (4, 5, 2), got (4, 4, 2)",
    ),
    (
        "m2",
        lambda m: m[..., 0],
        "m2 must have shape (N, n, K) with count's N and units' n and K, (4, 5, 2), got (4, 5)",
    ),
    ("rows", lambda r: r[1:], "rows must have shape (R,) with units' R, (3,), got (2,)"),
    ("rows", lambda r: r[None], "rows must have shape (R,) with units' R, (3,), got (1, 3)"),
    (
        "count",
        lambda c: c.int(),
        "count must be int64, got torch.int32; make it with torch.zeros(..., dtype=torch.int64)",
    ),
    (
        "mean",
        lambda m: m.float(),
        "mean must be float64, got torch.float32; make it with torch.zeros(..., dtype=torch.float64)",
    ),
    (
        "m2",
        lambda m: m.long(),
        "m2 must be float64, got torch.int64; make it with torch.zeros(..., dtype=torch.float64)",
    ),
    ("rows", lambda r: r.short(), "rows must be int64, got torch.int16; convert it with .long()"),
    (
        "count",
        lambda c: torch.stack([c, c], 1)[:, 0],
        "count must be contiguous to be changed in place, got shape (4,) with strides (2,); "
        "make it with torch.zeros(..., dtype=torch.int64)",
    ),
    (
        "mean",
        lambda m: m.transpose(0, 1).contiguous().transpose(0, 1),
        "mean must be contiguous to be changed in place, got shape (4, 5, 2) with strides (2, 8, 1); "
        "make it with torch.zeros(..., dtype=torch.float64)",
    ),
    (
        "m2",
        lambda m: m[..., :1].expand(-1, -1, 2),
        "m2 must be contiguous to be changed in place, got shape (4, 5, 2) with strides (10, 2, 0); "
        "make it with torch.zeros(..., dtype=torch.float64)",
    ),
    ("rows", lambda r: torch.tensor([1, 4, 5]), "rows must lie between 0 and N - 1 = 3, got 4"),
    ("rows", lambda r: torch.tensor([3, -1, 0]), "rows must lie between 0 and N - 1 = 3, got -1"),
    (
        "rows",
        lambda r: torch.tensor([2, 0, 2]),
        "rows must be distinct, got 2 more than once; give all units of a row together",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refuses(answers, name, change, message):
    ops.accumulate_moments_(*_valid().values())
    given = _valid()
    given[name] = change(given[name])
    before = [x.clone() for x in given.values()]
    # torch puts the place in the source before a compiled kernel's message.
    with pytest.raises(RuntimeError, match=f"(^|, ){re.escape(message)}$"):
        ops.accumulate_moments_(*given.values())
    for after, untouched in zip(given.values(), before, strict=True):
        assert torch.equal(after, untouched)


def test_backends_without_a_kernel_let_the_reference_answer(monkeypatch):
    expected = _valid()
    ops.accumulate_moments_(*expected.values())
    monkeypatch.setattr(ops, "check_device", lambda name, device: None)
    for name in ("triton", "cuda"):
        monkeypatch.setattr(ops, "active_backend", lambda name=name: name)
        found = _valid()
        ops.accumulate_moments_(*found.values())
        for got, want in zip(found.values(), expected.values(), strict=True):
            assert torch.equal(got, want)
