"""One call of a network, at x and at the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from reluxfast.graph import Node, Ref
from reluxfast.graph.spelling import arguments
from reluxfast.relevance.deep_lift.pair import Pair


@dataclass
class Operation:
    """One call at x and at the reference.

    Attributes:
        node: what is called.
        run: its result when operands, by name, differ from those at x.
        value, reference: operands by name, static ones included.
        leaves: operands that signals go back to, at the mean of x and reference.
        eps: differences below it count as none.
    """

    node: Node
    run: Callable[[dict[str, Any]], Any]
    value: dict[str, Any]
    reference: dict[str, Any]
    leaves: dict[str, torch.Tensor]
    eps: float

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """Arguments by their names in the operation's schema."""
        return arguments(self.node)

    def given(self, argument: str) -> Any:
        """A number or a tensor that is the same at x and at the reference."""
        found = self.arguments[argument]
        return self.value[found.name] if isinstance(found, Ref) else found

    def pair(self, argument: str) -> Pair:
        """A tensor at both."""
        found = self.arguments[argument]
        if not isinstance(found, Ref):
            like = next(iter(self.leaves.values()))
            constant = torch.as_tensor(found, dtype=like.dtype, device=like.device)
            return Pair(constant, constant, torch.zeros_like(constant))
        value = self.value[found.name]
        leaf = self.leaves.get(found.name)
        return Pair(value, self.reference[found.name], torch.zeros_like(value) if leaf is None else leaf)
