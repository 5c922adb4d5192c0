"""One request on its way through a method: the engine, the rows, and which outputs are explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from reluxfast.balance import Balance
from reluxfast.relevance.engine import Engine, Rules, Walked
from reluxfast.relevance.layers import layer_value


@dataclass
class Outcome:
    """What a method hands back, in the engine's dtype.

    Attributes:
        values: one tensor per input (or a single map) of shape (N, ...), (N, K, ...) for all classes.
        output: (N, ...) output of the model.
        facts: what to add to the result's options.
        base_value, standard_error, n_evaluations: as in `Attribution`.
        layers: value -> relevance (N, ...) or (N, K, ...) there; None: not asked for.
        balance: see `Balance`; None: not asked for.
        single: whether `values` is one map rather than one per input.
    """

    values: list[torch.Tensor]
    output: torch.Tensor
    facts: dict[str, Any] = field(default_factory=dict)
    base_value: torch.Tensor | None = None
    standard_error: list[torch.Tensor] | None = None
    n_evaluations: int = 1
    single: bool = False
    layers: dict[str, torch.Tensor] | None = None
    balance: Balance | None = None


@dataclass
class Run:
    """Attributes:
    engine: graph and weights.
    native: whether compiled kernels may be used.
    inputs: tensors (N, ...) in the engine's dtype.
    flat: (N,) index of the explained element of each flattened output row; None for every class.
    path_of: module -> its path on the explained model.
    """

    engine: Engine
    native: bool
    inputs: list[torch.Tensor]
    flat: torch.Tensor | None
    path_of: Callable[[nn.Module], str | None]

    @property
    def rows(self) -> int:
        return self.inputs[0].shape[0]

    @property
    def classes(self) -> int | None:
        """Number of classes explained at once, None for a single target per row."""
        return None if self.flat is not None else int(self.engine.graph.nodes[self.engine.graph.output].shape[1])

    def layer(self, layer: str | nn.Module) -> str:
        """Name of the value that a layer returns."""
        return layer_value(self.engine.graph, layer, self.path_of)

    def walk(
        self,
        rule: str,
        inputs: Sequence[torch.Tensor] | None = None,
        stops: frozenset[str] | None = None,
        progress: str | None = None,
        rules: Rules | None = None,
        account: bool = False,
    ) -> Walked:
        """Forward and reverse; `inputs` may hold the rows several times (sample-major), targets repeat with them."""
        given = list(inputs) if inputs is not None else self.inputs
        total = given[0].shape[0]
        flat = None if self.flat is None else self.flat.repeat(total // max(self.rows, 1))
        plan = self.engine.plan(self.native, stops, rules)

        def seeds(output: torch.Tensor, start: int) -> Iterator[tuple[torch.Tensor, int]]:
            rows = output.shape[0]
            if flat is not None:
                seed = torch.zeros_like(output, memory_format=torch.contiguous_format)
                mine = flat[start : start + rows].to(output.device)
                seed.view(rows, -1)[: len(mine)].scatter_(1, mine[:, None], 1.0)
                yield seed, 1
                return
            count = output.shape[1]
            step = self.engine.classes_per_walk(plan, rows, count)
            for first in range(0, count, step):
                times = min(step, count - first)
                seed = output.new_zeros(times, rows, count)
                index = torch.arange(times, device=output.device)
                seed[index, :, first + index] = 1.0
                yield seed.view(times * rows, count), times

        return self.engine.walk(given, seeds, rule, self.native, stops, self.classes, progress, rules, account)

    def selected(self, output: torch.Tensor) -> torch.Tensor:
        """Explained outputs: (N,), or (N, K) for every class."""
        if self.flat is None:
            return output
        times = output.shape[0] // max(self.rows, 1)
        flat = self.flat.repeat(times).to(output.device)
        return output.reshape(output.shape[0], -1).gather(1, flat[:, None])[:, 0]

    def input_signals(self, walked: Walked) -> list[torch.Tensor]:
        """Signals at the inputs, in the order of the model's arguments."""
        return [walked.signals[name] for name in self.engine.graph.inputs]

    def over_classes(self, x: torch.Tensor) -> torch.Tensor:
        """(N, ...) shaped to be combined with signals: (N, 1, ...) when every class is explained."""
        return x if self.flat is not None else x.unsqueeze(1)
