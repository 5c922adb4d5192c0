"""A game: a model, the rows whose outputs are explained, and what stands in the place of absent players."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from reluxfast import ops
from reluxfast.coalitions.players import Players
from reluxfast.errors import ReluxfastError


class Model(Protocol):
    """Outputs (T, K) of rows (T, d).

    Attributes:
        inner: shape of a row of the outputs, None until the first call.
        alike: whether a row has the same bits in every batch; otherwise it is given batches of one size.
    """

    inner: tuple[int, ...] | None
    alike: bool

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (T, K) of rows (T, d)."""


@dataclass
class Game:
    """v(S) = f(x_S, b_{N∖S}) for rows x and background rows b.

    Attributes:
        model: maps a batch (T, d), whose rows are in the order of `x`'s, to outputs (T, K); called with `tile` rows, so
            that its bits do not depend on how many rows are explained, but for what a library's product makes of a
            row's place in its batch.
        x: (N, d) rows in any fixed order of their elements.
        background: (B, d) rows that stand for absent players.
        players: whose labels are in the order of x's elements.
        tile: rows of one call of the model.
        first_row: number of the first row in the whole call, for random draws.
        chosen: (N,) the one output of each row that is explained; None: all of them.
        paired: whether background row i stands for absent players of row i alone (then B = N), not of every row.
    """

    model: Model
    x: torch.Tensor
    background: torch.Tensor
    players: Players
    tile: int
    first_row: int = 0
    chosen: torch.Tensor | None = None
    paired: bool = False

    @property
    def rows(self) -> int:
        """N."""
        return self.x.shape[0]

    @property
    def n(self) -> int:
        """Number of players."""
        return self.players.count

    @property
    def backgrounds(self) -> int:
        """Background rows that each row meets."""
        return 1 if self.paired else self.background.shape[0]

    def met(self, rows: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Background rows (R, G) by their numbers `which` (R, G) among those that each of the rows (R,) meets."""
        return rows.view(-1, 1).to(which.dtype).expand_as(which) if self.paired else which

    @property
    def numbers(self) -> torch.Tensor:
        """(N,) int64 numbers of the rows in the whole call."""
        return torch.arange(self.first_row, self.first_row + self.rows, device=self.x.device)

    @cached_property
    def _ends(self) -> torch.Tensor:
        """(1, n) ranks of which none or all are below."""
        return torch.zeros(1, self.n, dtype=torch.int32, device=self.x.device)

    @cached_property
    def _end_outputs(self) -> torch.Tensor:
        """(N + B, K): outputs of x and of the background, together, as each call is filled up."""
        # Without rows nobody needs a background, and there is no row to name beside it.
        backgrounds = self.background.shape[0] if self.rows else 0
        jobs = self.x.new_zeros(self.rows + backgrounds, 4, dtype=torch.int32)
        jobs[: self.rows, 0], jobs[: self.rows, 3] = torch.arange(self.rows, device=jobs.device), 1
        jobs[self.rows :, 1] = torch.arange(backgrounds, device=jobs.device)
        return self._outputs(jobs, self._ends)

    @property
    def output(self) -> torch.Tensor:
        """(N, K) float64: every output of x."""
        return self._end_outputs[: self.rows]

    @property
    def full(self) -> torch.Tensor:
        """(N, K) float64: v(N), the explained outputs of x."""
        return self.output if self.chosen is None else self.output.gather(1, self.chosen.unsqueeze(1))

    @property
    def _empty_outputs(self) -> torch.Tensor:
        """(B, K) float64: every output of the background rows."""
        whole = self._end_outputs[self.rows :]
        return whole if self.rows else whole.new_zeros(self.background.shape[0], whole.shape[1])

    def empty_at(self, rows: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """v(∅) with one background row for each unit.

        Args:
            rows: (R,) rows.
            which: (R, G) background rows.

        Returns:
            (R, G, K) float64.
        """
        outputs = self._empty_outputs
        return outputs[which] if self.chosen is None else outputs[which, self.chosen[rows].view(-1, 1)].unsqueeze(-1)

    @property
    def base(self) -> torch.Tensor:
        """(N, K) float64: the mean output of the background rows that a row meets."""
        outputs = self._empty_outputs
        mean = outputs if self.paired else outputs.mean(0).expand(self.rows, -1)
        return mean if self.chosen is None else mean.gather(1, self.chosen.unsqueeze(1))

    def values(self, jobs: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
        """Outputs for coalitions, in calls of one fixed size.

        Args:
            jobs: (M, 4) row, background row, row of `ranks`, and the rank below which a player is present.
            ranks: (P, n) int32.

        Returns:
            (M, K) float64; K is 1 where each row has one output explained.

        Raises:
            ReluxfastError: the model returns something else than one finite row for each row.
        """
        return self._outputs(jobs, ranks, self.chosen) if len(jobs) else self.full[:0]

    def _outputs(self, jobs: torch.Tensor, ranks: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        jobs = jobs.to(device=self.x.device, dtype=torch.int32)
        batch = self._batch(len(jobs))
        found = []
        for start in range(0, jobs.shape[0], self.tile):
            some = jobs[start : start + self.tile]
            ops.write_coalitions_(batch[: len(some)], self.x, self.background, self.players.labels, ranks, some)
            outputs = self._called(batch, len(some))
            if not bool(outputs.isfinite().all()):
                self._refuse(outputs, some, ranks)
            found.append(outputs if chosen is None else outputs.gather(1, chosen[some[:, 0].long()].unsqueeze(1)))
        if not found:
            none = self.model(batch)[:0].to(torch.float64)
            return none if chosen is None else none[:, :1]
        return torch.cat(found)

    def _batch(self, count: int) -> torch.Tensor:
        """Memory for a call; rows that fill one up are such as the model is made for."""
        return self.background[:1].repeat(min(self.tile, max(count, 1)) if self.model.alike else self.tile, 1)

    def _called(self, batch: torch.Tensor, count: int) -> torch.Tensor:
        """Outputs (count, K) float64 of a batch's first rows."""
        outputs = self.model(batch[:count] if self.model.alike else batch)[:count]
        # A copy: a function may return a view of its batch, or the memory that it returned before.
        return outputs.to(torch.float64, copy=True)

    def blended(self, row: int, masks: torch.Tensor) -> torch.Tensor:
        """Outputs (M, K) float64 of m ⊙ x + (1 - m) ⊙ b for one row and masks (M, d) in [0, 1]; one background row."""
        x, b = self.x[row], self.background[0]
        batch = self._batch(len(masks))
        found = []
        for some in masks.split(self.tile):
            torch.lerp(b.expand_as(some), x.expand_as(some), some, out=batch[: len(some)])
            outputs = self._called(batch, len(some))
            if not bool(outputs.isfinite().all()):
                bad = outputs[~outputs.isfinite()][0].item()
                raise ReluxfastError(f"f must return finite numbers, got {bad} for row {self.first_row + row} masked")
            found.append(outputs)
        whole = torch.cat(found)
        return whole if self.chosen is None else whole[:, self.chosen[row], None]

    @staticmethod
    def refuse_not_finite(values: torch.Tensor) -> None:
        """Refuses NaN and infinity that appear between a baseline and x.

        Raises:
            ReluxfastError: see above.
        """
        if not bool(values.isfinite().all()):
            raise ReluxfastError(
                "f must return finite numbers, got NaN or infinity for a coalition between baselines and x, both of "
                "which it can take: values inside it are too large for its dtype. Explain in float64, or scale x"
            )

    def _refuse(self, outputs: torch.Tensor, jobs: torch.Tensor, ranks: torch.Tensor) -> None:
        at = int((~outputs.isfinite()).any(1).nonzero()[0])
        row, base, order, below = jobs[at].tolist()
        present = (ranks[order] < below).nonzero().flatten().tolist()
        shown = f"{present[:20]}{' and more' if len(present) > 20 else ''}"
        bad = outputs[at][~outputs[at].isfinite()][0].item()
        raise ReluxfastError(
            f"f must return finite numbers, got {bad} for row {self.first_row + row} with the players {shown} of "
            f"{self.n} present and the others taken from background row {base}. Clean x and baselines, or explain a "
            "function that is finite there (logits instead of log-probabilities)"
        )
