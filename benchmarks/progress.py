"""What a benchmark is doing: a bar on a terminal, a line for each phase in a log."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Progress through `total` steps on stderr.

    Args:
        total: number of steps.
        desc: what is measured.
    """

    def __init__(self, total: int, desc: str):
        self.desc = desc
        self.bar = tqdm(total=total, desc=desc, leave=False, disable=None)

    def phase(self, text: str) -> None:
        """Says what comes next."""
        if not self.bar.disable:
            self.bar.set_postfix_str(text)
        else:
            print(f"{self.desc}: {text}", file=sys.stderr, flush=True)

    def step(self) -> None:
        """One step is done."""
        self.bar.update()

    def expect(self, total: int) -> None:
        """There will be so many steps."""
        self.bar.total = total
        self.bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
