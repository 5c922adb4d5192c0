"""One op on buffers of its own beside the plain torch calls it replaces, and how their values are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reluxfast import ops

Values = tuple[Tensor, ...]
DTYPES = {t: getattr(torch, t) for t in ("float32", "float16", "bfloat16", "float64")}


@dataclass(frozen=True)
class Call:
    """Something that is timed.

    Attributes:
        run: () -> its results.
        reads: tensors that it has to read.
        changes: tensors that it writes in place; they may be read too.
    """

    run: Callable[[], Values]
    reads: Values = ()
    changes: Values = ()

    def moved(self, results: Values) -> int:
        """Bytes that a call must read and write, each once; `results` are those of `run`."""
        new = [t for t in results if all(t is not known for known in (*self.reads, *self.changes))]
        return sum(t.numel() * t.element_size() for t in (*self.reads, *self.changes, *new))


@dataclass(frozen=True)
class Work:
    """One op on one shape; every call draws or copies buffers of its own.

    Attributes:
        op: its name in `reluxfast.ops`.
        variant: what of it is done.
        shape: of its main operand, as it is printed.
        draw: () -> fresh random inputs.
        ours: (*inputs) -> the op's call; what the op does not do itself is done here.
        plain: (*inputs) -> the eager torch calls it replaces; its results are the first of the op's.
        flop: multiplications and additions, where they are what takes time.
        slack: by how many roundings of a result's largest value the op may be off, and the plain calls.
        comparable: what of the results can be the same in both.
    """

    op: str
    variant: str
    shape: tuple[int, ...]
    draw: Callable[[], Values]
    ours: Callable[..., Call]
    plain: Callable[..., Call]
    flop: int = 0
    slack: tuple[float, float] = (1.0, 4.0)
    comparable: Callable[[Values], Values] = lambda values: values

    @property
    def name(self) -> str:
        """The op and the variant."""
        return f"{self.op} {self.variant}".strip()


@dataclass(frozen=True)
class Expected:
    """What a call of the op must give.

    Attributes:
        values: its results by the reference: numbers in float64, bits and integers as in the inputs' own dtype.
        moved: bytes that the op must read and write, each once.
    """

    values: Values
    moved: int


def expected(work: Work, inputs: Values) -> Expected:
    """By the reference, from copies of the inputs."""
    with ops.backend("reference"), torch.no_grad():
        call = work.ours(*copied(inputs))
        own = call.run()
        double = work.ours(*(t.double() if t.is_floating_point() else t for t in copied(inputs))).run()
    values = tuple(d if o.is_floating_point() else o for o, d in zip(own, double, strict=True))
    return Expected(values, call.moved(own))


def copied(inputs: Values) -> Values:
    """The same values, in the same order in memory, for a call that changes them."""
    return tuple(t.clone() for t in inputs)


def check_op(work: Work, results: Values, want: Values) -> None:
    """AssertionError where results of the op are not those expected."""
    if len(results) != len(want):
        raise AssertionError(f"{work.name}: {len(want)} results expected, got {len(results)}")
    _check(work.name, results, want, work.slack[0])


def check_plain(work: Work, results: Values, want: Values) -> None:
    """AssertionError where the plain calls compute something else than the op."""
    got, want = work.comparable(results), work.comparable(want)
    # Bytes that were rounded from numbers rounded before may be the next ones.
    _check(f"plain calls for {work.name}", got, want[: len(got)], work.slack[1], steps=1)


def _check(name: str, results: Values, want: Values, slack: float, steps: int = 0) -> None:
    for i, (got, right) in enumerate(zip(results, want, strict=True)):
        if got.shape != right.shape:
            raise AssertionError(f"{name}: result {i} must have shape {tuple(right.shape)}, got {tuple(got.shape)}")
        if not got.numel():
            continue
        worst = float((got.double() - right.double()).abs().max())
        number = got.is_floating_point()
        allowed = slack * torch.finfo(got.dtype).eps * float(right.abs().max()) if number else steps
        # So that NaN fails.
        if not worst <= allowed:
            raise AssertionError(f"{name}: result {i} is {worst:.2e} from the reference, {allowed:.2e} allowed")


def all_works(tiny: bool, dtype: torch.dtype, device: torch.device) -> Iterator[Work]:
    """Every op that takes the dtype, on shapes within and beyond the caches of a CPU, or on tiny ones."""
    from reluxfast.benchmarks.micro import coalitions, maps, mlps, moments  # they import this file

    yield from maps.all_shapes(tiny, dtype, device)
    yield from coalitions.all_shapes(tiny, dtype, device)
    yield from mlps.all_shapes(tiny, dtype, device)
    yield from moments.all_shapes(tiny, dtype, device)
