"""write_coalitions_ against its statement in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reluxfast import ops
from tests.ops import statement
from tests.ops.statement import DTYPES
from tests.support import assert_same_bits

# The integer type whose bits an element has.
BITS = {2: np.int16, 4: np.int32, 8: np.int64}
CONVERTED = (torch.float16, torch.bfloat16)
# Kernels that look at the values of indices.
CHECKED = ("reference", "cpp")
# Triton's interpreter casts with numpy, which says so where a number becomes infinite.
becomes_infinite = pytest.mark.filterwarnings("ignore:overflow encountered in cast")


def own(d: int) -> tuple[np.ndarray, int]:
    """Each element its own player, and one player more."""
    return np.arange(d), d + 1


def groups(d: int) -> tuple[np.ndarray, int]:
    """Players' elements lie anywhere."""
    return np.random.default_rng(5).integers(0, max(1, d // 3), d), max(1, d // 3)


def patches(d: int) -> tuple[np.ndarray, int]:
    """Runs of equal labels, unsorted and of several lengths, some of them long."""
    generator = np.random.default_rng(6)
    lengths = generator.choice([1, 2, 5, 16, 17, 48, 130], d + 1)
    return np.repeat(generator.integers(0, 9, d + 1), lengths)[:d], 9


def rows(d: int) -> tuple[np.ndarray, int]:
    """Rows of sixteen elements in a few players, as patches of an image have them."""
    return np.arange(d) // 16 % 4, 4


def one(d: int) -> tuple[np.ndarray, int]:
    """A single player."""
    return np.zeros(d, dtype=np.int64), 1


LABELS = {f.__name__: f for f in (own, groups, patches, rows, one)}


def case(d: int, labels: str, seed: int = 0, x_rows: int = 3, bases: int = 2, count: int = 7) -> list[np.ndarray]:
    """x, background, labels, ranks, jobs: random orders, coalitions from none to all, and a 0/1 mask."""
    generator = np.random.default_rng(seed)
    player, n = LABELS[labels](d)
    orders = [generator.permutation(n) for _ in range(3)] + [generator.integers(0, 2, n)]
    order = generator.integers(0, 4, count)
    below = np.where(order == 3, 1, generator.integers(0, n + 1, count))
    below[:2] = np.where(order[:2] == 3, 1, [0, n][:count])
    jobs = np.stack([generator.integers(0, x_rows, count), generator.integers(0, bases, count), order, below], axis=1)
    x, background = (statement.grid((size, d), seed + k, special=True) for k, size in enumerate((x_rows, bases), 1))
    return [x, background, player, np.stack(orders), jobs]


def tensors(x, background, *indices, dtype: torch.dtype) -> list[Tensor]:
    """The arrays as the op takes them."""
    return [torch.tensor(values, dtype=dtype) for values in (x, background)] + [
        torch.tensor(values, dtype=torch.int32) for values in indices
    ]


def bits(x: Tensor) -> np.ndarray:
    """x's elements as integers."""
    return x.cpu().view(getattr(torch, np.dtype(BITS[x.element_size()]).name)).numpy()


def assert_moved(given: list[Tensor], count: int) -> None:
    """The op of the active backend moves bits as the statement does."""
    x, background, *indices = given
    out = torch.empty(count, x.shape[1], dtype=x.dtype)
    assert ops.write_coalitions_(out, *given) is None
    wanted = statement.write_coalitions(bits(x), bits(background), *(i.cpu().numpy() for i in indices))
    assert np.array_equal(bits(out), wanted), f"{int((bits(out) != wanted).sum())} of {wanted.size} differ"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("d", [1, 2, 31, 64, 150, 1001, 4160])
def test_values(backend, d, labels, dtype):
    with ops.backend(backend):
        assert_moved(tensors(*case(d, labels, seed=d), dtype=dtype), 7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_is_kept(backend, dtype):
    """NaN of every sign and payload, subnormals, zeros of both signs."""
    generator = np.random.default_rng(0)
    given = tensors(*case(257, "groups"), dtype=dtype)
    kind = BITS[dtype.itemsize]
    for k in range(2):
        some = generator.integers(np.iinfo(kind).min, np.iinfo(kind).max, (len(given[k]), 257), dtype=kind)
        given[k] = torch.from_numpy(some).view(dtype).to(given[k].device)
    assert bool(given[0].isnan().any()) or dtype.itemsize > 2
    with ops.backend(backend):
        assert_moved(given, 7)


@becomes_infinite
@pytest.mark.parametrize("dtype", CONVERTED, ids=str)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("d", [1, 31, 150, 4160])
def test_rounds_once_into_half_types(backend, d, labels, dtype):
    x, background, *indices = case(d, labels, seed=d)
    generator = np.random.default_rng(d)
    # Values between those of a half type, beyond its largest and below its smallest.
    x, background = (
        np.where(np.isfinite(v), generator.standard_normal(v.shape) * 2.0 ** generator.integers(-30, 20, v.shape), v)
        for v in (x, background)
    )
    given = tensors(x, background, *indices, dtype=torch.float32)
    out = torch.empty(7, d, dtype=dtype)
    with ops.backend(backend):
        ops.write_coalitions_(out, *given)
    wide = statement.write_coalitions(
        given[0].cpu().numpy(), given[1].cpu().numpy(), *(i.cpu().numpy() for i in given[2:])
    )
    wanted = torch.from_numpy(wide).to(dtype)
    assert_same_bits(out.nan_to_num(77.0), wanted.nan_to_num(77.0))
    assert torch.equal(out.isnan().cpu(), wanted.isnan())


@becomes_infinite
def test_ties_are_rounded_to_even(backend):
    x = torch.tensor([[1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, -0.0, 65520.0, 2.0**-25, 3e38]])
    indices = tensors([[0.0]], [[0.0]], np.arange(8), np.zeros((1, 8)), [[0, 0, 0, 1]], dtype=torch.float32)[2:]
    with ops.backend(backend):
        for dtype in CONVERTED:
            out = torch.empty(1, 8, dtype=dtype)
            ops.write_coalitions_(out, x, x, *indices)
            assert_same_bits(out, x.to(dtype))


def test_one_row_and_one_base(backend):
    with ops.backend(backend):
        assert_moved(tensors(*case(33, "own", x_rows=1, bases=1, count=40), dtype=torch.float32), 40)


@pytest.mark.parametrize("made", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("d", [1, 31, 150, 1001])
def test_nothing_is_written_around_out(backend, d, labels, made):
    """A part of a buffer, as the last batch of many needs it."""
    for count in (1, 3):
        given = tensors(*case(d, labels, count=count), dtype=torch.float32)
        batch = torch.full((count + 2, d), 99.0, dtype=made)
        with ops.backend(backend):
            ops.write_coalitions_(batch[1:-1], *given)
        assert (batch[0] == 99).all() and (batch[-1] == 99).all() and not (batch[1:-1] == 99).any()


def test_an_image_in_channels_last_order(backend):
    """Patches of 2 x 2 pixels, each with all its channels."""
    x, background = torch.randn(2, 3, 4, 6), torch.zeros(1, 3, 4, 6)
    at = torch.arange(24).view(4, 6)
    patch = (at // 6 // 2) * 3 + at % 6 // 2
    ranks = torch.tensor([[0, 1, 1, 1, 0, 1]])
    present = torch.isin(patch, torch.tensor([0, 4]))
    out = torch.empty(2, 72)
    with ops.backend(backend):
        ops.write_coalitions_(
            out,
            x.permute(0, 2, 3, 1).reshape(2, 72),
            background.permute(0, 2, 3, 1).reshape(1, 72),
            patch.view(-1).repeat_interleave(3).int(),
            ranks.int(),
            torch.tensor([[0, 0, 0, 1], [1, 0, 0, 1]], dtype=torch.int32),
        )
    assert torch.equal(out.view(2, 4, 6, 3).permute(0, 3, 1, 2), x * present)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)], ids=str)
def test_nothing_at_all(backend, shape):
    count, d = shape
    given = tensors(
        np.ones((2, d)), np.ones((1, d)), np.zeros(d), np.zeros((1, 4)), np.full((count, 4), 99), dtype=torch.float32
    )
    with ops.backend(backend):
        ops.write_coalitions_(torch.empty(shape), *given)
        # Nothing is looked up, so there may be nothing.
        ops.write_coalitions_(torch.empty(shape), given[0][:0], given[1][:0], given[2], given[3][:0], given[4])


def _given() -> dict[str, Tensor]:
    values = [torch.zeros(3, 5), *tensors(*case(5, "own", count=3), dtype=torch.float32)]
    return dict(zip(("out", "x", "background", "labels", "ranks", "jobs"), values, strict=True))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x", lambda t: t.int(), "x must be float32, float64, float16 or bfloat16"),
        ("x", lambda t: t[0], r"x must have shape \(N, d\), got \(5,\)"),
        ("x", lambda t: t[:, :4], r"background must have shape \(B, d\) with x's d, 4, got \(2, 5\)"),
        ("background", lambda t: t[0], r"background must have shape \(B, d\) with x's d, 5, got \(5,\)"),
        ("labels", lambda t: t[:4], r"labels must have shape \(d,\) with x's d, 5, got \(4,\)"),
        ("labels", lambda t: t[None], r"labels must have shape \(d,\) with x's d, 5, got \(1, 5\)"),
        ("ranks", lambda t: t[0], r"ranks must have shape \(P, n\), got \(6,\)"),
        ("jobs", lambda t: t[:, :3], r"jobs must have shape \(M, 4\), got \(3, 3\)"),
        ("jobs", lambda t: t[0], r"jobs must have shape \(M, 4\), got \(4,\)"),
        ("out", lambda t: t[:2], r"out must have shape \(M, d\) with jobs' M and x's d, \(3, 5\), got \(2, 5\)"),
        ("out", lambda t: t[:, :4], r"out must have shape \(M, d\) .*, \(3, 5\), got \(3, 4\)"),
        ("out", lambda t: t.view(-1), r"out must have shape \(M, d\) .*, \(3, 5\), got \(15,\)"),
        ("background", lambda t: t.double(), "background must have the dtype of x, .*, got"),
        ("out", lambda t: t.double(), "out must have the dtype of x, .*, or be float16 or bfloat16 .*convert x and"),
        ("out", lambda t: t.int(), "out must have the dtype of x, .*, or be float16 or bfloat16"),
        ("labels", lambda t: t.long(), r"labels must be int32, got .*; convert it with \.int\(\)"),
        ("ranks", lambda t: t.float(), r"ranks must be int32, got .*; convert it with \.int\(\)"),
        ("jobs", lambda t: t.to(torch.int16), r"jobs must be int32, got .*; convert it with \.int\(\)"),
        (
            "x",
            lambda t: t.repeat(1, 2)[:, ::2],
            r"x must be contiguous, got .*strides \(10, 2\); call x\.contiguous\(\)",
        ),
        (
            "background",
            lambda t: t.t().contiguous().t(),
            r"background must be contiguous, .*background\.contiguous\(\)",
        ),
        ("labels", lambda t: t.repeat(2)[::2], r"labels must be contiguous, .*labels\.contiguous\(\)"),
        ("ranks", lambda t: t[:1].expand(4, 6), r"ranks must be contiguous, .*ranks\.contiguous\(\)"),
        ("jobs", lambda t: t.t().contiguous().t(), r"jobs must be contiguous, .*jobs\.contiguous\(\)"),
        ("out", lambda t: t.t().contiguous().t(), r"out must be contiguous, .*make it with torch\.empty\(M, d\)"),
        (
            "x",
            lambda t: t[:0],
            r"x, background and ranks must not be empty .*got shapes \(0, 5\), \(2, 5\) and \(4, 6\)",
        ),
        ("out", lambda t: t.to("meta"), "out must be on the device of x, .*, got meta"),
        ("jobs", lambda t: t.to("meta"), "jobs must be on the device of x, .*, got meta"),
        ("background", lambda t: t[:0], "x, background and ranks must not be empty"),
        ("ranks", lambda t: t[:, :0], "x, background and ranks must not be empty"),
    ],
)
def test_refuses(backend, name, change, message):
    given = _given()
    given[name] = change(given[name])
    with ops.backend(backend), pytest.raises(RuntimeError, match=message):
        ops.write_coalitions_(**given)


def test_half_types_are_not_made_of_other_dtypes(backend):
    given = _given()
    for kind, made in (
        (torch.float64, torch.float16),
        (torch.float16, torch.bfloat16),
        (torch.bfloat16, torch.float32),
    ):
        other = {name: given[name].to(kind) for name in ("x", "background")} | {"out": given["out"].to(made)}
        with ops.backend(backend), pytest.raises(RuntimeError, match="out must have the dtype of x"):
            ops.write_coalitions_(**given | other)


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("labels", 4, 6, r"labels must lie between 0 and n - 1 = 5, got 6"),
        ("labels", 0, -1, r"labels must lie between 0 and n - 1 = 5, got -1"),
        ("jobs", (2, 0), 3, r"rows in jobs must lie between 0 and N - 1 = 2, got 3"),
        ("jobs", (0, 1), 2, r"bases in jobs must lie between 0 and B - 1 = 1, got 2"),
        ("jobs", (1, 2), -7, r"orders in jobs must lie between 0 and P - 1 = 3, got -7"),
    ],
)
@pytest.mark.parametrize("checked", [name for name in CHECKED if ops.available_backends()[name] is None])
def test_refuses_values_out_of_range(checked, name, at, value, message):
    given = {key: tensor.cpu() for key, tensor in _given().items()}
    given[name][at] = value
    with ops.backend(checked), pytest.raises(RuntimeError, match=message):
        ops.write_coalitions_(**given)


def test_any_number_may_be_a_rank_or_a_bound(backend):
    lowest, highest = -(2**31), 2**31 - 1
    given = _given() | {
        "ranks": torch.tensor([[lowest, highest, -5, 0, 5]], dtype=torch.int32),
        "jobs": torch.tensor([[0, 0, 0, highest], [0, 0, 0, lowest], [0, 0, 0, -1]], dtype=torch.int32),
        "x": torch.ones(1, 5),
        "background": torch.zeros(1, 5),
    }
    with ops.backend(backend):
        ops.write_coalitions_(**given)
    assert given["out"].tolist() == [[1, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]
