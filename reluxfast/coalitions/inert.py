"""Players that change nothing: they get nothing, not the rounding between a running sum and an output."""

from __future__ import annotations

import torch

from reluxfast.coalitions.game import Game

# Elements that are compared at once.
_ELEMENTS = 1 << 22


def inert(game: Game, x: torch.Tensor, cycle: torch.Tensor, dead: torch.Tensor) -> torch.Tensor | None:
    """(R, G, n) bool: players all of whose elements are as in the background row, or not looked at; None: nobody.

    Args:
        game: the game.
        x: (R, d) rows.
        cycle: (R, G) background row of each unit.
        dead: (d,) elements that the network does not look at.
    """
    stays, height = [], max(1, _ELEMENTS // max(1, x.numel()))
    blocks, which = game.background.split(height), cycle
    if game.paired:
        # Every unit of a row meets the same background row.
        blocks, which = (game.background[cycle[:, :1].long()],), torch.zeros_like(cycle)
    for some in blocks:
        moves = (x.unsqueeze(1) != some) & ~dead  # (R, B', d)
        if bool(moves.all()):
            stays.append(moves.new_zeros(()).expand(*moves.shape[:2], game.n))
            continue
        count = moves.new_zeros(*moves.shape[:2], game.n, dtype=torch.int32)
        stays.append(count.index_add_(2, game.players.labels, moves.to(torch.int32)) == 0)
    if not any(bool(some.any()) for some in stays):
        return None
    return torch.cat(stays, 1).gather(1, which.long().unsqueeze(-1).expand(-1, -1, game.n))
