"""All coalitions of a game, by number: player i is in coalition S if bit i of S is set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from reluxfast.coalitions.first_map import FirstMap, Steps
from reluxfast.coalitions.game import Game

# Coalitions of all rows that are evaluated at once, at most.
_WRITTEN, _SUMMED = 1 << 12, 1 << 16
# Calls of the model whose outputs are held at once.
_CALLS = 8
# Bytes of first values, or of outputs, that are held at once.
_HELD_BYTES = 64 << 20
# Players whose subsets are added to those of all others.
_LOW_PLAYERS = 7


class Cube(Protocol):
    """Something that knows the value of every coalition of a game.

    Attributes:
        path: what it is called in a result's options.
    """

    path: str

    @property
    def dead(self) -> torch.Tensor:
        """(d,) bool: elements that the network is known not to look at."""

    def at_once(self) -> tuple[int, int, int]:
        """What one call should be given, of the game's sizes alone: a power of two of coalitions, rows at most, and
        coalitions of all rows and background rows at most."""

    def values(self, rows: range, backs: torch.Tensor, coalitions: range) -> torch.Tensor:
        """Values, with background rows for the absent players of each row.

        Args:
            rows: of the game.
            backs: (R, G) int64 background rows.
            coalitions: 2^k of them, from a multiple of 2^k on.

        Returns:
            (R, G, 2^k, K) float32 or float64; those of the empty and of the full coalition may be anything.
        """


class WrittenCube:
    """Coalitions that are written out and passed through the model.

    Args:
        game: the game.
        path: what the model is called.
    """

    def __init__(self, game: Game, path: str):
        self.game = game
        self.path = path
        self.dead = game.x.new_zeros(game.x.shape[1], dtype=torch.bool)

    def at_once(self) -> tuple[int, int, int]:
        """See `Cube`."""
        return _WRITTEN, _WRITTEN, max(_WRITTEN, min(_SUMMED, _CALLS * self.game.tile))

    def values(self, rows: range, backs: torch.Tensor, coalitions: range) -> torch.Tensor:
        """See `Cube`. Calls of the model are for coalitions that are neither empty nor full."""
        game, n = self.game, self.game.n
        listed = torch.arange(coalitions.start, coalitions.stop, device=game.x.device)
        absent = (~(listed.unsqueeze(1) >> torch.arange(n, device=listed.device)) & 1).to(torch.int32)
        inner = ((listed > 0) & (listed < 2**n - 1)).nonzero().squeeze(1)
        row = torch.arange(rows.start, rows.stop, device=listed.device).view(-1, 1, 1)
        parts = torch.broadcast_tensors(row, backs.unsqueeze(2), inner, torch.ones_like(inner))
        found = game.values(torch.stack(parts, -1).flatten(0, 2), absent)
        values = found.new_zeros(*backs.shape, len(listed), game.full.shape[1])
        values[:, :, inner] = found.view(*parts[0].shape, found.shape[1])
        return values


class SummedCube:
    """Coalitions whose first values are sums: one of the first players' subsets, one of the others'.

    Args:
        game: the game.
        path: what it is called.
        first: the network's first map.
        behind: outputs (R, P, Q, K) at all sums of first values (R, P, H) and (R, Q, H).
    """

    def __init__(
        self, game: Game, path: str, first: FirstMap, behind: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ):
        self.game, self.path, self.first, self.behind = game, path, first, behind
        self.dead = first.dead
        self._background = first.values(game.background)
        self._steps = Steps(first, game.x, game.background, game.players)

    def at_once(self) -> tuple[int, int, int]:
        """See `Cube`."""
        weight = self.first.weight
        held = _HELD_BYTES // weight.element_size()
        # Outputs that are not explained are computed as well: what is chosen changes no bit.
        coalitions = min(_SUMMED, max(1, held // max(len(weight), self.game.output.shape[1])))
        return 1 << (coalitions.bit_length() - 1), max(1, held // weight.numel()), coalitions

    def values(self, rows: range, backs: torch.Tensor, coalitions: range) -> torch.Tensor:
        """See `Cube`."""
        return torch.stack([self._values(rows, back, coalitions) for back in backs.unbind(1)], 1)

    def _values(self, rows: range, backs: torch.Tensor, coalitions: range) -> torch.Tensor:
        """(R, 2^k, K) with one background row (R,) for each row."""
        game, width = self.game, len(coalitions).bit_length() - 1
        numbers = torch.arange(rows.start, rows.stop, device=game.x.device)
        steps = self._steps(numbers, backs.unsqueeze(1))[:, 0]
        low_players = min(_LOW_PLAYERS, width)
        low = _subsets(steps.new_zeros(len(rows), 1, steps.shape[2]), steps[:, :low_players])
        fixed = [i for i in range(width, game.n) if coalitions.start >> i & 1]
        start = self._background[backs].unsqueeze(1)
        # One after the other, so that the order of the sum is one that can be named.
        for i in fixed:
            start = start + steps[:, i : i + 1]
        found = self.behind(_subsets(start, steps[:, low_players:width]), low).flatten(1, 2)
        game.refuse_not_finite(found)
        if game.chosen is None:
            return found
        chosen = game.chosen[rows.start : rows.stop].view(-1, 1, 1)
        return found.gather(2, chosen.expand(-1, found.shape[1], 1))


def _subsets(start: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """(R, 2^k, H): `start` (R, 1, H) plus every sum of steps (R, k, H), in the order of the subsets' numbers."""
    for i in range(steps.shape[1]):
        start = torch.cat([start, start + steps[:, i : i + 1]], 1)
    return start
