"""Chains of multilayer perceptrons, which need no masked inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from reluxfast import ops
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.perceptron import Perceptron
from reluxfast.errors import ReluxfastError

# Bytes of marginals that one call returns.
_CALL_BYTES = 64 << 20


@dataclass
class PerceptronChains:
    """Chains walked by `ops.mlp_chains`.

    Attributes:
        game: the game, whose rows are in the order that the perceptron's first layer takes.
        layers: the network.
    """

    game: Game
    layers: Perceptron
    path: ClassVar[str] = "mlp"

    def at_once(self) -> int:
        """See `Chains`."""
        outputs = self.layers.weights[-1].shape[0]
        return max(1, _CALL_BYTES // (self.game.x.element_size() * self.game.n * outputs))

    def pairs(self, rows: torch.Tensor, cycle: torch.Tensor, orders: torch.Tensor, antithetic: bool) -> torch.Tensor:
        """See `Chains`."""
        game = self.game
        x = game.x if len(rows) == game.rows else game.x[rows]
        weights, biases = list(self.layers.weights), list(self.layers.biases)
        members, starts = game.players.members, game.players.starts
        found, _, _ = ops.mlp_chains(x, game.background, cycle, orders, members, starts, weights, biases, antithetic)
        if not bool(found.isfinite().all()):
            raise ReluxfastError(
                "the network returns NaN or infinity for a coalition between baselines and x, both of which it can "
                "take; weights or inputs are too large for its dtype. Explain in float64, or scale the inputs"
            )
        found.masked_fill_(self._inert(x, cycle).unsqueeze(-1), 0)
        if game.chosen is None:
            return found
        chosen = game.chosen[rows].view(-1, 1, 1, 1).expand(*found.shape[:3], 1)
        return found.gather(3, chosen)

    def _inert(self, x: torch.Tensor, cycle: torch.Tensor) -> torch.Tensor:
        """(R, G, n): players that change nothing, which would get the rounding between a chain's end and its output."""
        players, dead = self.game.players, (self.layers.weights[0] == 0).all(0)
        moves = ((x.unsqueeze(1) != self.game.background) & ~dead).to(torch.int32)  # (R, B, d)
        count = moves.new_zeros(*moves.shape[:2], players.count)
        count.index_add_(2, players.labels, moves)
        return (count == 0).gather(1, cycle.long().unsqueeze(-1).expand(-1, -1, players.count))
