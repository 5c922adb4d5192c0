"""What one pass over one chunk of rows holds: values on the way forward, and what the reverse walk will need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from reluxfast.graph import BATCH, Ref
from reluxfast.graph.node import substitute
from reluxfast.relevance.spare import Spare


def may_write() -> bool:
    """Whether a step may write into memory of its own: not while a walk is itself differentiated."""
    return not torch.is_grad_enabled()


@dataclass
class Frame:
    """One chunk of rows on its way through a plan.

    Attributes:
        rows: number of rows of the forward pass.
        rule: the rule of the reverse walk that will follow.
        keeps: names of the values whose steps must keep something.
        times: how many signals per row the reverse walk carries (several classes at once, class-major).
        values: live values by name; after the forward pass only numbers stay.
        saved: what each step keeps for the reverse walk, by name of its value.
        account: where a walk of relevance writes down what became of it, step by step; None: nowhere. With an account
            all values stay.
        spare: where steps take the memory of what they keep.
        reference: on the way forward, the same step of the pass that this one is compared with.
        watched: whether somebody compares what is kept with another engine's.
    """

    rows: int
    rule: str = "gradient"
    keeps: frozenset[str] = frozenset()
    times: int = 1
    values: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] | None = None
    spare: Spare = field(default_factory=lambda: Spare(0))
    reference: Frame | None = None
    watched: bool = False

    @property
    def batch(self) -> int:
        """Size of dimension 0 of the tensors that pass through."""
        return self.rows * self.times

    def resolve(self, value: Any, static: Callable[[str], torch.Tensor]) -> Any:
        """Arguments of a call with every reference replaced: the batch, a live value, or a static one."""

        def lookup(ref: Ref) -> Any:
            if ref == BATCH:
                return self.batch
            return self.values[ref.name] if ref.name in self.values else static(ref.name)

        return substitute(value, lookup)

    def tensors(self) -> Iterator[torch.Tensor]:
        """Every tensor kept for the reverse walk."""
        return _tensors(self.saved)


def _tensors(item: Any) -> Iterator[torch.Tensor]:
    if isinstance(item, torch.Tensor):
        yield item
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from _tensors(part)
    elif isinstance(item, dict):
        yield from _tensors(list(item.values()))
