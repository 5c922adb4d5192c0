"""Which node of a network follows which LRP rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields

import torch

from reluxfast.captured import Model, captured
from reluxfast.composites import RELU_RULES, Layer
from reluxfast.errors import InvalidInput, UnsupportedNode
from reluxfast.explainer import Explainer
from reluxfast.graph.fold import foldable
from reluxfast.methods.inputs import as_tuple, check_like
from reluxfast.methods.lrp import assignment
from reluxfast.methods.numbers import flag
from reluxfast.relevance.lrp.kinds import kind_of
from reluxfast.rules import Rule
from reluxfast.text import table

_WITHOUT = {
    "carry": "carried along",
    "max_pool": "to the winner",
    "scale": "unchanged",
    "shift": "unchanged",
}


@dataclass(frozen=True)
class CoverageRow:
    """Attributes:
    name: of the node's value.
    op: the operation.
    path: dotted path of the module it is called in.
    kind: as a composite sees it, `Layer.kind`.
    rule: that it follows; None: it has none.
    does: what happens to relevance there, in words.
    """

    name: str
    op: str
    path: str
    kind: str
    rule: Rule | None
    does: str


@dataclass(frozen=True)
class Coverage:
    """Attributes:
    rows: nodes that relevance passes, in execution order.
    refusal: why this network is refused under these rules, "" if it is not.
    """

    rows: list[CoverageRow]
    refusal: str

    @property
    def ok(self) -> bool:
        """Whether the network can be explained under these rules."""
        return not self.refusal

    def __str__(self) -> str:
        body = [(row.path, row.name, row.op, row.kind, row.does) for row in self.rows]
        text = table(("module", "node", "operation", "kind", "rule"), body)
        return f"{text}\n\n{self.refusal}" if self.refusal else text


def coverage(
    model: Model | Explainer,
    x: torch.Tensor | tuple[torch.Tensor, ...],
    composite: str | Rule | Callable[[Layer], Rule | None] = "epsilon_plus_flat",
    layer_rules: Mapping[str, Rule] | None = None,
    fallback: str | None = None,
    products: str | None = None,
    fold_batch_norm: bool = True,
) -> Coverage:
    """The rule that LRP takes at every node; `print(rx.coverage(model, x))` shows a table.

    Args:
        model: nn.Module, exported program or Explainer.
        x: Tensor (N, ...) or tuple of Tensors, as for `attribute`.
        composite, layer_rules, fallback, products, fold_batch_norm: as for `lrp`.

    Raises:
        InvalidInput: an argument breaks a rule. A node without an LRP rule is no error here, but `Coverage.refusal`.
    """
    if isinstance(composite, str) and composite in RELU_RULES:
        raise InvalidInput("composite", "must assign rules to layers", repr(composite))
    given = as_tuple(x)
    known = model.captured if isinstance(model, Explainer) else captured(model, given)
    check_like(given, known.examples)
    engine = known.engine()
    graph = engine.graph
    flag("fold_batch_norm", fold_batch_norm)
    assigned = assignment(graph, composite, layer_rules, fallback, products, fold_batch_norm=fold_batch_norm)
    refusal = ""
    try:
        engine.plan(False, None, assigned)
    except UnsupportedNode as error:
        refusal = str(error)
    live = graph.leading_to(graph.output)
    rules = dict(assigned.rules)
    folds = foldable(graph, frozenset((*graph.inputs, graph.output))) if fold_batch_norm else {}
    rows = []
    for node in graph:
        if not node.inputs or node.name not in live:
            continue
        kind, rule = kind_of(node), rules.get(node.name)
        does = _named(rule) if rule is not None else _WITHOUT.get(kind, "NO RULE")
        if node.name in folds:
            does = f"folded into {folds[node.name]}"
        rows.append(CoverageRow(node.name, node.op, node.module_path, kind, rule, does))
    return Coverage(rows, refusal)


def _named(rule: Rule) -> str:
    """The rule's name with the arguments that differ from their defaults."""
    shown = []
    for item in fields(rule):
        value = getattr(rule, item.name)
        if item.default is MISSING or isinstance(value, torch.Tensor) or value != item.default:
            text = f"Tensor{tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
            shown.append(f"{item.name}={text}")
    return f"{type(rule).__name__}({', '.join(shown)})"
