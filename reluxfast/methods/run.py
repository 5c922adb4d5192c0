"""One request on its way through a method: the engine, the rows, and which outputs are explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from reluxfast.balance import Balance
from reluxfast.methods.targets import element_targets, run_targets
from reluxfast.relevance.engine import Engine, Rules, Walked
from reluxfast.relevance.layers import layer_value

# (output (m, ...), numbers (m,) of its rows among those explained) -> signal like the output
Seed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


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
        explained: (N,) or (N, K) numbers that were explained, where they are none of the model's output.
        attached: whether values keep their history.
    """

    values: list[torch.Tensor]
    output: torch.Tensor
    facts: dict[str, Any] = field(default_factory=dict)
    base_value: torch.Tensor | None = None
    standard_error: list[torch.Tensor] | None = None
    n_evaluations: int = 1
    single: bool = False
    explained: torch.Tensor | None = None
    attached: bool = False
    layers: dict[str, torch.Tensor] | None = None
    balance: Balance | None = None


@dataclass
class Run:
    """Attributes:
    engine: graph and weights.
    native: whether compiled kernels may be used.
    inputs: the explained tensors (N, ...) in the engine's dtype.
    target: what is explained, as the user gave it.
    path_of: module -> its path on the explained model.
    hidden: whether the engine ends at a value inside the network, of which whole channels can be explained.
    context: the network's further arguments (N, ...).
    seed: makes the signal that a reverse walk begins with, where that is not one target for each row; for LRP that is
        relevance, not a multiple of the output.
    """

    engine: Engine
    native: bool
    inputs: list[torch.Tensor]
    target: Any
    path_of: Callable[[nn.Module], str | None]
    hidden: bool = False
    context: list[torch.Tensor] = field(default_factory=list)
    seed: Seed | None = None

    @cached_property
    def flat(self) -> torch.Tensor | None:
        """(N, M) indices of the explained elements of each flattened output row, one or several; None for every class.

        Raises:
            InvalidInput: the target does not fit the output.
        """
        shape = self.engine.graph.nodes[self.engine.graph.output].shape
        return (element_targets if self.hidden else run_targets)(self.target, shape, self.rows)

    def starting_at(self, layer: str | nn.Module) -> Run:
        """This run with the value of a layer in the place of the output."""
        return self.at(self.layer(layer, "start"))

    def at(self, value: str) -> Run:
        """This run with a value inside the network in the place of the output."""
        return replace(self, engine=self.engine.ending_at(value), hidden=True)

    def differentiable(self) -> Run:
        """This run on the path that can itself be differentiated; call it with the reference backend active."""
        return replace(self, engine=self.engine.with_history(), native=False)

    @property
    def rows(self) -> int:
        return self.inputs[0].shape[0]

    @property
    def single(self) -> bool:
        """Whether one signal goes back for each row."""
        return self.seed is not None or self.flat is not None

    @property
    def classes(self) -> int | None:
        """Number of classes explained at once, None for a single target per row."""
        return None if self.single else int(self.engine.graph.nodes[self.engine.graph.output].shape[1])

    def layer(self, layer: str | nn.Module, argument: str = "layer") -> str:
        """Name of the value that a layer, passed as `argument`, returns."""
        return layer_value(self.engine.graph, layer, self.path_of, argument)

    def walk(
        self,
        rule: str,
        inputs: Sequence[torch.Tensor] | None = None,
        stops: frozenset[str] | None = None,
        progress: str | None = None,
        rules: Rules | None = None,
        account: bool = False,
        logit: bool = False,
        reference: Sequence[torch.Tensor] | None = None,
    ) -> Walked:
        """Forward and reverse; `inputs` may hold the rows several times (sample-major), targets repeat with them.

        Seeds are 1 at the explained outputs, or with `logit` those outputs themselves. `reference` takes the place of
        `inputs` in a pass beside, where the plan compares.
        """
        given = self.arguments(inputs)
        times_each = given[0].shape[0] // max(self.rows, 1)
        flat = None if self.seed is not None or self.flat is None else _repeated(self.flat, times_each)
        plan = self.engine.plan(self.native, stops, rules)

        def seeds(output: torch.Tensor, start: int) -> Iterator[tuple[torch.Tensor, int]]:
            rows = output.shape[0]
            if self.seed is not None:
                yield self._seeds(output, start), 1
                return
            if flat is not None:
                seed = torch.zeros_like(output, memory_format=torch.contiguous_format)
                mine = flat[start : start + rows].to(output.device)
                seed.view(rows, -1)[: len(mine)].scatter_(1, mine, 1.0)
                yield seed * output if logit else seed, 1
                return
            count = output.shape[1]
            step = self.engine.classes_per_walk(plan, rows, count)
            for first in range(0, count, step):
                times = min(step, count - first)
                seed = output.new_zeros(times, rows, count)
                index = torch.arange(times, device=output.device)
                seed[index, :, first + index] = 1.0
                seed = seed * output if logit else seed
                yield seed.view(times * rows, count), times

        beside = None if reference is None else self.arguments(reference)
        return self.engine.walk(given, seeds, rule, self.native, stops, self.classes, progress, rules, account, beside)

    def outputs(self, inputs: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Output (N, ...) of the network, for these inputs (as for `walk`) in the place of the run's own."""
        return self.engine.outputs(self.arguments(inputs), self.native)

    def arguments(self, inputs: Sequence[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """The network's arguments: explained tensors and their context, repeated as they are."""
        given = self.inputs if inputs is None else list(inputs)
        if not self.context:
            return given
        times = given[0].shape[0] // max(self.rows, 1)
        context = [_repeated(c, times) for c in self.context]
        by_name = dict(zip(self.engine.graph.explained, given, strict=True))
        others = (name for name in self.engine.graph.inputs if name not in by_name)
        by_name |= dict(zip(others, context, strict=True))
        return [by_name[name] for name in self.engine.graph.inputs]

    def _seeds(self, output: torch.Tensor, start: int) -> torch.Tensor:
        numbers = torch.arange(start, start + output.shape[0], device=output.device) % max(self.rows, 1)
        with (
            torch.inference_mode(False),
            torch.set_grad_enabled(self.engine.differentiable and torch.is_grad_enabled()),
        ):
            return self.seed(output, numbers).to(output)

    def selected(self, output: torch.Tensor) -> torch.Tensor:
        """Explained outputs: (N,), the sum where they are several, or (N, K) for every class."""
        if self.seed is not None:
            # What a signal of 0 belongs to is not explained, finite or not.
            seeds = self._seeds(output, 0)
            return torch.where(seeds == 0, 0, output * seeds).flatten(1).sum(1)
        if self.flat is None:
            return output
        times = output.shape[0] // max(self.rows, 1)
        flat = _repeated(self.flat, times).to(output.device)
        return output.reshape(output.shape[0], -1).gather(1, flat).sum(1)

    def input_signals(self, walked: Walked) -> list[torch.Tensor]:
        """Signals at the explained inputs, in the order of the model's arguments."""
        return [walked.signals[name] for name in self.engine.graph.explained]

    def over_classes(self, x: torch.Tensor) -> torch.Tensor:
        """(N, ...) shaped to be combined with signals: (N, 1, ...) when every class is explained."""
        return x if self.single else x.unsqueeze(1)


def _repeated(x: torch.Tensor, times: int) -> torch.Tensor:
    """All rows of `x` so many times."""
    return x if times == 1 else x.repeat(times, *[1] * (x.dim() - 1))
