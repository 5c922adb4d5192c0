"""Layer-wise relevance of a model's rows, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.oracles.gradient import Target, select
from tests.oracles.lrp.composites import Composite
from tests.oracles.lrp.record import Tape, record
from tests.oracles.lrp.rules import Rule
from tests.oracles.lrp.walk import walk
from tests.zoo import MODULES, Construct


@dataclass(frozen=True)
class NodeRelevance:
    """One node in all N rows.

    Attributes:
        op, kind, path, call: the node; `call` counts the calls of the same op at the same path.
        folded: path of the batch norm folded into it.
        rule: what was used in the first row; None where no relevance arrived.
        relevance: of its output `(N, ...)`, all readers together.
        arriving, to_inputs, to_bias, to_stabiliser, rest: `(N,)`; the first is the sum of the others. `to_bias` holds
            the share of constant summands too; `rest` is what a rule that does not conserve makes or loses.
    """

    op: str
    kind: str
    path: str
    call: int
    folded: str | None
    rule: Rule | None
    relevance: Tensor
    arriving: Tensor
    to_inputs: Tensor
    to_bias: Tensor
    to_stabiliser: Tensor
    rest: Tensor


@dataclass(frozen=True)
class Explanation:
    """Relevance of every input `values` `(N, ...)`, the seed's sum `output` `(N,)`, every node in execution order."""

    values: tuple[Tensor, ...]
    output: Tensor
    nodes: tuple[NodeRelevance, ...]

    def node(self, path: str, call: int = 0, op: str | None = None) -> NodeRelevance:
        """The node at a module's path."""
        return next(n for n in self.nodes if n.path == path and n.call == call and op in (None, n.op))

    def total(self, field: str) -> Tensor:
        """Sum of a balance field over all nodes, `(N,)`."""
        return sum((getattr(n, field) for n in self.nodes), torch.zeros_like(self.output))

    @property
    def input_sum(self) -> Tensor:
        """`Σ R_in` `(N,)`."""
        return sum(v.flatten(1).sum(1) for v in self.values)

    @property
    def error(self) -> Tensor:
        """`abs(Σ R_in - f)` `(N,)`."""
        return (self.input_sum - self.output).abs()

    @property
    def balance(self) -> Tensor:
        """`abs(Σ R_in + Σ R_bias + Σ R_stabiliser - f) / abs(f)` `(N,)`, the rest included."""
        total = self.input_sum + self.total("to_bias") + self.total("to_stabiliser") + self.total("rest")
        return (total - self.output).abs() / self.output.abs().clamp(min=1e-12)


@dataclass(frozen=True)
class Recording:
    """The tapes of all rows; one recording serves many explanations, which share the explicit matrices."""

    tapes: tuple[Tape, ...]

    def explain(
        self,
        composite: Composite,
        target: Target = None,
        *,
        layer_rules: dict[str, Rule] | None = None,
        fallback: str | None = None,
        product: str | None = None,
        seed: float | None = None,
        start: tuple[str, tuple] | None = None,
    ) -> Explanation:
        """Relevance of the inputs for the output `target` of each row.

        Args:
            composite: node -> rule, or None for a node that has none; see `composites.composite`.
            target: None, int, tuple, or one per row as a list or Tensor.
            layer_rules: path -> rule, before the composite.
            fallback: "gradient" walks nodes without a rule by their derivative, else they are refused.
            product: "signal" or "half", for products of two activations.
            seed: relevance at the target; None is the output itself.
            start: (path, index without the batch) of a hidden value, channel or slice to start from instead of an
                output; of the last node at that path, seeded with its values.
        """
        outputs, relevances, steps = [], [], []
        for n, tape in enumerate(self.tapes):
            cells, values = _start(tape, target[n : n + 1] if isinstance(target, (list, Tensor)) else target, start)
            values = values if seed is None else torch.full_like(values, seed)
            start_at = dict(zip(cells.tolist(), values.tolist(), strict=True))
            relevance, taken = walk(tape, composite, start_at, layer_rules, fallback, product)
            outputs.append(float(values.sum()))
            relevances.append([relevance[c] for c in tape.input_cells])
            steps.append(taken)
        return Explanation(
            tuple(torch.cat(v) for v in zip(*relevances, strict=True)),
            torch.tensor(outputs, dtype=torch.float64),
            tuple(_stack(same) for same in zip(*steps, strict=True)),
        )


def recording(model: nn.Module, inputs: tuple[Tensor, ...], fold: bool = True) -> Recording:
    """Records each row of `inputs` (each `(N, ...)`) in float64; `fold` folds batch norms."""
    return Recording(tuple(record(model, tuple(v[n : n + 1] for v in inputs), fold) for n in range(len(inputs[0]))))


def explain(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    composite: Composite,
    target: Target = None,
    *,
    fold: bool = True,
    **options,
) -> Explanation:
    """`Recording.explain` of a model, in one call."""
    return recording(model, inputs, fold).explain(composite, target, **options)


def record_construct(construct: Construct, inputs: tuple[Tensor, ...], fold: bool = True) -> Recording:
    """A zoo model, its ReLUs spelled as modules whatever its own spelling is."""
    return recording(construct.oracle(MODULES), inputs, fold)


def explain_construct(
    construct: Construct, inputs: tuple[Tensor, ...], composite: Composite, *, fold: bool = True, **options
) -> Explanation:
    """`Recording.explain` of a zoo model and its target, in one call."""
    target = options.pop("target", construct.target)
    return record_construct(construct, inputs, fold).explain(composite, target, **options)


def _start(tape: Tape, target: Target, start: tuple[str, tuple] | None) -> tuple[Tensor, Tensor]:
    """Cells to seed and their values, flattened."""
    if start is None:
        return select(tape.output_cells, target), select(tape.output, target)
    path, index = start
    node = [n for n in tape.nodes if n.path == path][-1]
    return node.output_cells[0][index].flatten(), node.output[0][index].flatten()


def _stack(steps) -> NodeRelevance:
    node, columns = steps[0].node, zip(*(s[3:] for s in steps), strict=True)
    numbers = [torch.tensor(c, dtype=torch.float64) for c in columns]
    relevance = torch.cat([s.relevance for s in steps])
    arriving = torch.stack([s.relevance.sum() for s in steps])
    return NodeRelevance(
        node.op, node.kind, node.path, node.call, node.folded, steps[0].rule, relevance, arriving, *numbers
    )
