"""draw_orders against its statement in Python, and the promises of its kernel."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from reluxfast import ops
from reluxfast.ops.philox import philox
from tests.device import NEEDS_CPP
from tests.ops import statement

MOST = 2**32 - 1
# Known answers that Random123 1.14 ships for philox4x32-10: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MOST,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_published_answers(counter, key, words):
    assert statement.philox(counter, key) == words
    found = philox(tuple(torch.tensor(c) for c in counter), (key % 2**32, key >> 32))
    assert tuple(int(word) for word in found) == words


def assert_stated(rows: torch.Tensor, *numbers: int) -> None:
    """The active backend's orders are those of the statement."""
    found = ops.draw_orders(rows, *numbers)
    assert found.dtype == torch.int32 and found.device == rows.device
    assert found.stride() == torch.empty(found.shape).stride()
    np.testing.assert_array_equal(found.cpu().numpy(), statement.draw_orders(rows.cpu().numpy(), *numbers))


# Sizes below, at and above blocks of four draws.
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 30, 31, 100, 257])
@pytest.mark.parametrize(("rows", "count"), [(3, 4), (1, 1), (0, 2), (2, 0), (0, 0), (1, 9), (5, 1)])
def test_values(answers, rows, count, n):
    assert_stated(torch.tensor([7, 0, MOST, 1000, 8][:rows], dtype=torch.int64), 11, 2, 5, count, n)


@pytest.mark.parametrize("n", [784, 5000])
def test_values_of_many_players(answers, n):
    assert_stated(torch.tensor([3, 1]), 5, 0, 0, 2, n)


@pytest.mark.parametrize(
    "seed", [0, 1, -1, 2**32, -(2**32), 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1, -(2**63), -(2**63) - 1, 3**90]
)
def test_seeds(answers, seed):
    """Any int: its lower 64 bits count, whatever its sign."""
    rows = torch.tensor([0, 4])
    assert_stated(rows, seed, 1, 0, 3, 30)
    whole = ops.draw_orders(rows, seed, 1, 0, 3, 30)
    assert torch.equal(ops.draw_orders(rows, seed + 2**64, 1, 0, 3, 30), whole)
    for other in (seed + 1, seed + 2**32, seed + 2**63):
        assert not torch.equal(ops.draw_orders(rows, other, 1, 0, 3, 30), whole)


@pytest.mark.parametrize("stream", [0, 3, 2**31, MOST])
@pytest.mark.parametrize("first", [0, 2**31 - 1, 2**32 - 2])
def test_numbers_up_to_the_last(answers, stream, first):
    assert_stated(torch.tensor([MOST, 2**31]), 9, stream, first, 2, 13)
    assert ops.draw_orders(torch.tensor([1]), 9, stream, 2**32, 0, 13).shape == (1, 0, 13)


def test_values_by_hand(answers):
    """The published answer above: 0x66... < 0x9b... < 0xbc... < 0xe1..."""
    assert ops.draw_orders(torch.tensor([0]), 0, 0, 0, 1, 4).tolist() == [[[0, 3, 2, 1]]]


def test_equal_draws_come_in_the_order_of_their_numbers(answers):
    n = 200_000
    draws = np.array(statement.drawn(1, 2, 0, 3, n))
    found = ops.draw_orders(torch.tensor([1]), 2, 0, 3, 1, n)[0, 0].cpu().numpy()
    ascending = draws[found]
    equal = ascending[1:] == ascending[:-1]
    assert equal.sum() > 1
    assert (ascending[1:] >= ascending[:-1]).all() and (found[1:][equal] > found[:-1][equal]).all()
    assert np.array_equal(np.sort(found), np.arange(n))


def test_strides_of_rows(answers):
    rows = torch.tensor([[5, 99], [2, 99], [8, 99]])[:, 0]
    assert not rows.is_contiguous()
    assert_stated(rows, 0, 0, 0, 2, 9)
    assert_stated(rows[:1].expand(3), 0, 0, 0, 2, 9)


def test_orders_do_not_depend_on_how_they_are_cut(answers):
    rows = torch.arange(40, 70)
    whole = ops.draw_orders(rows, 6, 1, 10, 25, 30)
    assert torch.equal(ops.draw_orders(rows[3:9], 6, 1, 14, 7, 30), whole[3:9, 4:11])
    assert torch.equal(ops.draw_orders(rows.flip(0), 6, 1, 10, 25, 30), whole.flip(0))


@NEEDS_CPP
@pytest.mark.parametrize(("rows", "count", "n"), [(64, 25, 30), (3, 5, 3001), (1, 7001, 1), (20000, 1, 5)])
def test_threads_change_nothing(rows, count, n):
    numbers = torch.arange(rows)
    with ops.backend("reference"):
        wanted = ops.draw_orders(numbers, 1, 0, 0, count, n)
    with ops.backend("cpp"):
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            assert torch.equal(ops.draw_orders(numbers, 1, 0, 0, count, n), wanted)


# A right call, and what replaces some of its arguments.
RIGHT = {"rows": [1, 2], "seed": 0, "stream": 0, "first": 0, "count": 2, "n": 3}
REFUSED = [
    ({"rows": 3}, "rows must have shape (R,), got ()"),
    ({"rows": [[1, 2]]}, "rows must have shape (R,), got (1, 2)"),
    ({"rows": [1.0]}, "rows must be int64, got torch.float32; convert it with .long()"),
    ({"rows": [1, -3, -4]}, "rows must lie between 0 and 2**32 - 1, got -3"),
    ({"rows": [1, 2**32]}, "rows must lie between 0 and 2**32 - 1, got 4294967296"),
    ({"stream": -1}, "stream must lie between 0 and 2**32 - 1, got -1"),
    ({"stream": 2**32}, "stream must lie between 0 and 2**32 - 1, got 4294967296"),
    ({"first": -1}, "first must lie between 0 and 2**32, got -1"),
    ({"first": 2**32 + 1}, "first must lie between 0 and 2**32, got 4294967297"),
    ({"count": -1}, "count must lie between 0 and 2**32 - first = 4294967296, got -1"),
    ({"first": 2**32 - 1, "count": 2}, "count must lie between 0 and 2**32 - first = 1, got 2"),
    ({"n": -1}, "n must lie between 0 and 2**31 - 1, got -1"),
    ({"n": 2**31}, "n must lie between 0 and 2**31 - 1, got 2147483648"),
]


def _call(change: dict) -> torch.Tensor:
    rows, *numbers = {**RIGHT, **change}.values()
    return ops.draw_orders(torch.tensor(rows), *numbers)


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refuses(answers, change, message):
    assert _call({}).shape == (2, 2, 3)
    # torch puts the place in the source before a compiled kernel's message.
    with pytest.raises(RuntimeError, match=f"(^|, ){re.escape(message)}$"):
        _call(change)


def test_backends_without_a_kernel_let_the_reference_answer(monkeypatch):
    expected = _call({})
    monkeypatch.setattr(ops, "check_device", lambda name, device: None)
    for name in ("triton", "cuda"):
        monkeypatch.setattr(ops, "active_backend", lambda name=name: name)
        assert torch.equal(_call({}), expected)
