"""What is asked for: rows, background, players and a model, before it is known how much is spent on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from reluxfast.coalitions.chains import Chains, WrittenChains
from reluxfast.coalitions.cube import Cube, WrittenCube
from reluxfast.coalitions.game import Game, Model
from reluxfast.coalitions.models import RowOrder
from reluxfast.coalitions.players import Players
from reluxfast.errors import InvalidInput
from reluxfast.progress import Bars, progress_bar

# One call of the model: input bytes, rows where they are few, and rows at most.
_CALL_BYTES = 32 << 20
_FEWEST_ROWS, _MOST_ROWS = 256, 8192


class Ways(Protocol):
    """Ways through a network that are faster than calls of it."""

    def chains(self, game: Game, allow_tf32: bool) -> Chains:
        """Chains of a game of this network; products behind its first map may use TF32 if allowed."""

    def cube(self, game: Game) -> Cube:
        """All coalitions of a game of this network."""


@dataclass
class GameRequest:
    """Rows, background, players and a model, of which games are made once it is known how much is spent.

    Attributes:
    model: of rows (T, d).
    order: of the elements of a row.
    x, background, players: as in `Game`.
    most_players: of any row of the whole call.
    first_row: number of the first row in the whole call.
    choose: (N,) the one output of each row that is explained, or None for all; asked once the model has been called.
    row_bytes: what one row of a call takes, in and beside the model.
    batch_size: rows of one call, or None.
    memory_budget: bytes that one call may take, or None.
    path: how the model is evaluated, for the result's options.
    ways: faster ones through the model, or None.
    bars: makes the bar of an estimator that has one.
    paired: as in `Game`.
    made: the game last made, whose outputs of x and of the background are known.
    """

    model: Model
    order: RowOrder
    x: torch.Tensor
    background: torch.Tensor
    players: Players
    most_players: int
    first_row: int
    choose: Callable[[], torch.Tensor | None]
    row_bytes: int
    batch_size: int | None = None
    memory_budget: int | None = None
    path: str = "model"
    ways: Ways | None = None
    bars: Bars = progress_bar
    paired: bool = False
    made: Game | None = None

    @property
    def backgrounds(self) -> int:
        """Background rows that each row meets."""
        return 1 if self.paired else len(self.background)

    def game(self, evaluations: int) -> Game:
        """The game, with calls of a size that follows from what one row costs, never from how many rows there are.

        Args:
            evaluations: outputs of the model that one row will take.
        """
        tile = self._tile(evaluations)
        made = Game(self.model, self.x, self.background, self.players, tile, self.first_row, paired=self.paired)
        _ = made.output
        chosen = self.choose()
        made.chosen = None if chosen is None else chosen.to(self.x.device)
        self.made = made
        return made

    def chains(self, game: Game, allow_tf32: bool) -> Chains:
        """The fastest way to walk chains of this game."""
        ways = self.ways
        return WrittenChains(game, self.path) if ways is None else ways.chains(game, allow_tf32)

    def cube(self, game: Game) -> Cube:
        """The fastest way to the values of all coalitions of this game."""
        return WrittenCube(game, self.path) if self.ways is None else self.ways.cube(game)

    def _tile(self, evaluations: int) -> int:
        if self.batch_size is not None:
            return self.batch_size
        fitting = max(1, _CALL_BYTES // self.row_bytes)
        if self.memory_budget is not None:
            if self.memory_budget < self.row_bytes:
                rule = f"must hold at least one row ({self.row_bytes} bytes)"
                raise InvalidInput("memory_budget", rule, self.memory_budget, "Raise it")
            fitting = self.memory_budget // self.row_bytes
        wanted = min(_MOST_ROWS, max(_FEWEST_ROWS, evaluations))
        return _power_of_two(min(fitting, _next_power_of_two(wanted)))


def _power_of_two(most: int) -> int:
    return 1 << (most.bit_length() - 1)


def _next_power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
