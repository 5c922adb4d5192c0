"""Which features take part, and how the engine is asked about them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from reluxfast.compat.shap.answer import Answer, Options, uninterrupted
from reluxfast.compat.shap.errors import wrong_dimensions
from reluxfast.compat.shap.linked import by_masks
from reluxfast.compat.shap.links import Link, is_identity
from reluxfast.compat.shap.models import Model
from reluxfast.compat.shap.tables import Table
from reluxfast.games import explain_function


@dataclass(frozen=True)
class TabularGame:
    """A model, and what stands for absent features: v(S) = mean over b of f(x_S, b), through a link.

    Attributes:
        model: see above.
        background: rows b, which may have weights.
        link: from outputs to what is explained: link(mean f), or if linearized the mean of weighted link(f), which is
            the same for the background and for x.
        linearize: whether it is.
    """

    model: Model
    background: Table
    link: Link
    linearize: bool = False

    @cached_property
    def plain(self) -> bool:
        """Whether the engine's own game is meant."""
        return is_identity(self.link) and self.background.weights is None

    def expected_value(self) -> float | np.ndarray:
        """v(∅): a float, or (K,) where the model has an output dimension."""
        outputs = self.model.outputs(self.background.numbers)
        found = self.link(np.average(outputs, axis=0, weights=self.background.weights))
        return float(found) if np.ndim(found) == 0 else np.asarray(found, dtype=np.float64)

    def varying(self, x: Table) -> np.ndarray:
        """(N, d) whether a feature has another value than in some background row.

        Raises:
            InvalidInput: rows have not as many features as the background.
        """
        ours, theirs = x.numbers, self.background.numbers
        if ours.shape[1] != theirs.shape[1]:
            rule = f"must have {theirs.shape[1]} features, as the background has"
            raise wrong_dimensions("X", rule, ours.shape[1])
        return (ours != theirs.min(0)) | (ours != theirs.max(0))

    def ask(self, method: str, options: Options, x: Table, batch_size: int | None, own: bool = False) -> Answer:
        """Explains rows.

        Args:
            method: of the engine, by name.
            options: of it, but for players, baselines and batch_size.
            x: rows of as many features as the background.
            batch_size: rows of a call of the model, or None.
            own: whether each row has its own players, the features that vary in it, where rows differ in them;
                otherwise all rows have those that vary in any.
        """
        varying = self.varying(x)
        if not self.plain:
            game = self.model, self.background, self.link, self.linearize
            return by_masks(*game, method, options, x, varying, batch_size)
        sets = varying if own and (varying != varying[:1]).any() else varying.any(0, keepdims=True)
        players = None
        if not sets.all():
            # Others change nothing, whoever they go with.
            named = np.where(sets, np.arange(sets.shape[1]), sets.argmax(1)[:, None])
            players = torch.from_numpy(named if len(named) > 1 else named[0])
        most = max(1, int(sets.sum(1).max(initial=0)))
        rows, background = (self.model.given(t.rows) for t in (x, self.background))
        common = {"baselines": background, "players": players, "batch_size": batch_size}
        chosen = {**common, **options(most, len(background))}
        result = uninterrupted(explain_function(self.model.explained, rows, None, method, chosen, padded=False))
        inner = self.model.inner(result.output.shape)
        count, outputs = len(x.rows), math.prod(inner)

        def spread(found: torch.Tensor | None) -> np.ndarray | None:
            if found is None:
                return None
            of_players = found.cpu().double().numpy().reshape(count, outputs, found.shape[-1])
            whole = np.zeros((count, outputs, sets.shape[1]))
            for number, members in enumerate(sets):
                of_set = slice(None) if len(sets) == 1 else slice(number, number + 1)
                whole[of_set][..., members] = of_players[of_set, :, : members.sum()]
            return whole.swapaxes(1, 2)

        base = result.base_value.cpu().double().numpy().reshape(count, outputs)
        return Answer(spread(result.values), base, spread(result.standard_error), inner)
