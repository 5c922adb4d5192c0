"""Progress bars for people: on a terminal and in a notebook, never in a log."""

from __future__ import annotations

from collections.abc import Iterable

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm

_IN_NOTEBOOK = tqdm is not tqdm_asyncio


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
    disable = (False if _IN_NOTEBOOK else None) if show else True
    return tqdm(work, desc=desc, total=total, unit=unit, disable=disable, delay=1, leave=False)
