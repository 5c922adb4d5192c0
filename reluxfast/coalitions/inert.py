"""Players that change nothing: they get nothing, not the rounding between a running sum and an output."""

from __future__ import annotations

import torch

from reluxfast.coalitions.game import Game


def inert(game: Game, x: torch.Tensor, cycle: torch.Tensor, dead: torch.Tensor) -> torch.Tensor | None:
    """(R, G, n) bool: players all of whose elements are as in the background row, or not looked at; None: nobody.

    Args:
        game: the game.
        x: (R, d) rows.
        cycle: (R, G) background row of each unit.
        dead: (d,) elements that the network does not look at.
    """
    moves = (x.unsqueeze(1) != game.background) & ~dead  # (R, B, d)
    if bool(moves.all()):
        return None
    moves = moves.to(torch.int32)
    count = moves.new_zeros(*moves.shape[:2], game.n).index_add_(2, game.players.labels, moves)
    return (count == 0).gather(1, cycle.long().unsqueeze(-1).expand(-1, -1, game.n))
