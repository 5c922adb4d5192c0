"""Progress bars for people: on a terminal and in a notebook, never in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm

_IN_NOTEBOOK = tqdm is not tqdm_asyncio
_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silence(on: bool = True) -> Iterator[None]:
    """No bar is drawn meanwhile, in this thread; False leaves things as they are."""
    token = _silent.set(_silent.get() or on)
    try:
        yield
    finally:
        _silent.reset(token)


class Bar(Protocol):
    """What is told of steps that are done."""

    def update(self, n: float) -> object:
        """Another n steps are done."""


class Bars(Protocol):
    """Something that makes bars, as `progress_bar` does."""

    def __call__(self, *, total: int, desc: str, unit: str) -> AbstractContextManager[Bar]:
        """A bar of `total` steps."""


def progress_bar(
    work: Iterable | None = None, *, desc: str, total: int | None = None, unit: str = "it", show: bool = True
) -> tqdm:
    """A bar on stderr over `work`, or one of `total` steps to be updated by hand; it appears after one second.

    Args:
        work: what to go through; None: call `update` after each step.
        desc: what is being done.
        total: number of steps, if `work` does not say.
        unit: what a step is called.
        show: False never draws it.
    """
    # None: tqdm draws on terminals only; a notebook's stream is none, its bars are widgets.
    disable = (False if _IN_NOTEBOOK else None) if show and not _silent.get() else True
    return tqdm(work, desc=desc, total=total, unit=unit, disable=disable, delay=1, leave=False)


class PartsBar:
    """One bar for parts that come one after the other, instead of one for each; a single part has its own.

    Args:
        parts: how many.
        desc: what is being done.
        unit: what a part is called.
    """

    def __init__(self, parts: int, *, desc: str, unit: str):
        self._whole = None
        if parts > 1:
            self._whole = progress_bar(total=parts, desc=desc, unit=unit)
            # Shares of a part in a few digits.
            self._whole.unit_scale = True

    def __enter__(self) -> PartsBar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._whole is not None:
            self._whole.close()

    def part(self, *, total: int, desc: str, unit: str) -> AbstractContextManager[Bar]:
        """A bar for the steps of the part that is under way."""
        if self._whole is None:
            return progress_bar(total=total, desc=desc, unit=unit)
        return nullcontext(_Share(self._whole, total))

    def done(self, parts: int) -> None:
        """So many parts are done, with or without having counted all of their steps."""
        if self._whole is not None:
            self._whole.update(parts - self._whole.n)


@dataclass(frozen=True)
class _Share:
    """Steps of a part as shares of it."""

    whole: Bar
    total: int

    def update(self, n: float) -> None:
        """See `Bar`."""
        self.whole.update(n / self.total)
