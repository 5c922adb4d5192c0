"""What one call of `attribute` asks, as games of the coalition engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.inert import inert
from reluxfast.coalitions.players import Players
from reluxfast.coalitions.request import GameRequest
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.forward import forward_of
from reluxfast.compat.captum.perturbation.baselines import given_starts, one_for_each
from reluxfast.compat.captum.perturbation.features import Features
from reluxfast.compat.captum.perturbation.rows import Rows, captured_rows, function_rows
from reluxfast.compat.captum.perturbation.targets import explained_part
from reluxfast.compat.captum.perturbation.user_function import UserFunction
from reluxfast.progress import progress_bar


@dataclass(frozen=True)
class Asked:
    """Rows whose outputs are explained, and what is explained of them.

    Attributes:
        call: the user's arguments.
        rows: the inputs as rows of a model.
        explained: (R, M) int64: which outputs of each row are explained.
        shape: of the explained outputs as the user's function returns them, R·M in all.
        show_progress: whether bars are drawn.
    """

    call: Call
    rows: Rows
    explained: torch.Tensor
    shape: tuple[int, ...]
    show_progress: bool = False

    @property
    def float_dtype(self) -> torch.dtype:
        """float64 where an input is, else float32."""
        return torch.float64 if any(x.dtype == torch.float64 for x in self.call.inputs) else torch.float32

    def request(self, players: Players, some: torch.Tensor | None = None) -> GameRequest:
        """The game of some rows, or of all, with these players."""
        rows = self.rows
        which = slice(None) if some is None else some.to(rows.x.device)
        chosen = self.explained[which].squeeze(1) if self.explained.shape[1] == 1 else None
        return GameRequest(
            model=rows.source.model,
            order=rows.order,
            x=rows.x[which].contiguous(),
            background=rows.background[which].contiguous() if rows.paired else rows.background,
            players=players,
            most_players=players.count,
            first_row=0,
            choose=lambda: chosen,
            row_bytes=2 * rows.x.shape[1] * rows.x.element_size(),
            batch_size=rows.batch_size,
            memory_budget=rows.source.memory_budget,
            path=rows.source.path,
            ways=rows.source.ways,
            bars=partial(progress_bar, show=self.show_progress),
            paired=rows.paired,
        )

    def by_feature(
        self, features: Features, estimate: Callable[[GameRequest, torch.Tensor], Estimate]
    ) -> tuple[torch.Tensor, ...]:
        """What an estimator says of the feature of each element, (R, M, p) float64 for each input.

        Args:
            features: of the inputs.
            estimate: of a game whose players are features, given their ids (n,) in ascending order.
        """
        self.check_masks(features)
        if not any(ids.shape[1] for ids in features.ids):
            return tuple(torch.zeros(*self.explained.shape, 0, device=self.rows.x.device) for _ in features.ids)
        made: list[torch.Tensor] = []
        for some, ids in features.groups(len(self.rows.x)):
            players, listed = self.players(ids)
            request = self.request(players, None if features.shared else some)
            values = self.of_explained(_settled(request, estimate(request, listed).values), some)
            parts = [values[:, :, torch.searchsorted(listed, each).to(values.device)] for each in ids]
            made = made or [part.new_zeros(len(self.rows.x), *part.shape[1:]) for part in parts]
            for whole, part in zip(made, parts, strict=True):
                whole[some.to(whole.device)] = part
        return tuple(made)

    def check_masks(self, features: Features) -> None:
        """Refuses masks of examples where the batch is explained as a whole."""
        if self.rows.whole and not features.shared:
            rule = "must be the same for each example where forward_func answers for the batch as a whole"
            raise Refused("feature_mask", rule, f"masks for {len(features.ids[0])} examples")

    def players(self, ids: tuple[torch.Tensor, ...]) -> tuple[Players, torch.Tensor]:
        """Features as players, and their ids (n,); the number of an example, which never varies, is the first's."""
        listed = torch.cat(ids).unique()
        labels = torch.zeros(self.rows.x.shape[1], dtype=torch.int32, device="cpu")
        for place, each in zip(self.rows.place, ids, strict=True):
            labels[place.cpu()] = torch.searchsorted(listed, each).to(torch.int32)
        return Players(labels.to(self.rows.x.device), len(listed)), listed

    def of_explained(self, values: torch.Tensor, some: torch.Tensor | None = None) -> torch.Tensor:
        """(R, M, n): from values (R, n, K) of some rows, or of all, those of the explained outputs."""
        explained = self.explained if some is None else self.explained[some.to(self.explained.device)]
        values = values.transpose(1, 2)
        if explained.shape[1] == 1:
            return values
        return values.gather(1, explained.unsqueeze(2).expand(-1, -1, values.shape[2]))

    def laid_out(self, parts: tuple[torch.Tensor, ...], dtype: torch.dtype, flat: bool = False) -> Any:
        """Attributions in the form of the inputs, (*shape, ...) each, from parts (R, M, p).

        Args:
            flat: whether outputs are in one dimension.
        """
        outputs = (math.prod(self.shape),) if flat else self.shape
        pairs = zip(parts, self.rows.shapes, strict=True)
        return self.call.packed([part.reshape(*outputs, *shape).to(dtype).contiguous() for part, shape in pairs])


def _settled(request: GameRequest, values: torch.Tensor) -> torch.Tensor:
    """Values (R, n, K): nothing for features that are as in the baseline, not rounding between calls."""
    game = request.made
    backs = game.met(game.numbers, torch.zeros_like(game.numbers).unsqueeze(1))
    still = inert(game, game.x, backs, game.x.new_zeros(game.x.shape[1], dtype=torch.bool))
    return values if still is None else values.masked_fill(still[:, 0].unsqueeze(-1), 0)


def ask(
    forward_func: Any, call: Call, baselines: Any, perturbations_per_eval: int = 1, show_progress: bool = False
) -> Asked:
    """The question behind the arguments of `attribute`.

    Raises:
        AssertionError, IndexError: an argument breaks a rule, or a target does not fit the outputs.
    """
    whole = isinstance(perturbations_per_eval, int) and not isinstance(perturbations_per_eval, bool)
    if not whole or perturbations_per_eval < 1:
        rule = "(ablations per evaluation) must be an integer and at least 1"
        raise Refused("perturbations_per_eval", rule, perturbations_per_eval)
    if any(x.dim() == 0 for x in call.inputs):
        raise Refused("inputs", "must have examples in dimension 0", "a Tensor without dimensions")
    call.check_rows(call.inputs, "inputs")
    starts, dtypes = given_starts(one_for_each(baselines, call.inputs), call.inputs)
    forward, rows = forward_of(forward_func), None
    if forward.module is not None and len(call.inputs) == 1 and not call.extra:
        rows = captured_rows(forward.module, call.inputs[0], starts[0], dtypes[0])
    if rows is None:
        function = UserFunction(forward.function if forward.module is None else forward.module, call.extra, call.rows)
        part = partial(explained_part, target=call.target)
        rows = function_rows(function, call.inputs, starts, dtypes, part, perturbations_per_eval)
    device = rows.x.device
    if rows.whole:
        numbers = torch.arange(math.prod(rows.output), device=device).unsqueeze(0)
        return Asked(call, rows, numbers, rows.output or (1,), show_progress)
    inner = rows.output[1:]
    numbers = torch.arange(math.prod(inner), device=device).view(1, *inner).expand(rows.output)
    explained = explained_part(numbers, call.target)
    return Asked(
        call,
        rows,
        explained.reshape(len(explained), math.prod(explained.shape[1:])),
        tuple(explained.shape),
        show_progress,
    )
