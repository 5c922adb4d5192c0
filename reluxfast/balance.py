"""Where the relevance of an LRP walk went, node by node."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reluxfast.text import table


@dataclass(frozen=True)
class BalanceRow:
    """Relevance at one node: each a Tensor (N,), or (N, K) for all classes, in float64.

    Attributes:
        name: of the node's value; a ReLU or batch norm that is computed with the map in front has no row of its own.
        op: the operation.
        path: dotted path of the module it is called in.
        rule: that it followed, "" for nodes that only carry relevance along.
        incoming: at its result.
        outgoing: handed to its operands.
        bias: taken by its bias.
        stabiliser: absorbed by the stabiliser, including shares whose denominator is empty.
    """

    name: str
    op: str
    path: str
    rule: str
    incoming: torch.Tensor
    outgoing: torch.Tensor
    bias: torch.Tensor
    stabiliser: torch.Tensor


@dataclass(frozen=True)
class Balance:
    """Attributes:
    rows: nodes in execution order.
    logit: what was handed back, (N,) or (N, K).
    at_input: what arrived at the inputs.
    """

    rows: list[BalanceRow]
    logit: torch.Tensor
    at_input: torch.Tensor

    @property
    def bias(self) -> torch.Tensor:
        """Taken by biases altogether."""
        return sum((row.bias for row in self.rows), torch.zeros_like(self.logit))

    @property
    def stabiliser(self) -> torch.Tensor:
        """Absorbed by stabilisers altogether."""
        return sum((row.stabiliser for row in self.rows), torch.zeros_like(self.logit))

    @property
    def error(self) -> torch.Tensor:
        """|input + bias + stabiliser - logit| / |logit|: rounding, unless a rule does not conserve (see its text)."""
        gap = self.at_input + self.bias + self.stabiliser - self.logit
        return gap.abs() / self.logit.abs().clamp_min(torch.finfo(torch.float64).tiny)

    def __str__(self) -> str:
        cells = []
        for row in self.rows:
            numbers = (row.incoming, row.outgoing, row.bias, row.stabiliser)
            cells.append((row.name, row.path, row.rule, *(f"{float(v.mean()):.4g}" for v in numbers)))
        totals = (self.logit, self.at_input, self.bias, self.stabiliser)
        cells.append(("all", "", "", *(f"{float(v.mean()):.4g}" for v in totals)))
        return table(("node", "module", "rule", "in", "out", "bias", "stabiliser"), cells, right=(3, 4, 5, 6))
