"""Graph -> plan of a DeepLIFT walk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reluxfast.errors import UnsupportedNode
from reluxfast.graph import Graph, Node
from reluxfast.graph.node import references
from reluxfast.graph.weights import Weights
from reluxfast.relevance.deep_lift.rules import Rule, rule_for
from reluxfast.relevance.deep_lift.steps import RescaleCallStep, RescalePoolStep, RescaleStep
from reluxfast.relevance.lrp.kinds import short_name
from reluxfast.relevance.plan import Plan, Planner
from reluxfast.relevance.steps import Step

# Of their operand these read shape and dtype alone.
_SHAPE_ONLY = set(
    "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty sym_size size".split()
)
_SECOND_IS_SHAPE = set("expand_as view_as reshape_as type_as copy".split())


@dataclass(frozen=True)
class Rescale:
    """What makes a DeepLIFT walk out of a graph.

    Attributes:
        eps: differences below it count as none.
    """

    eps: float = 1e-10


def make_rescale_plan(
    graph: Graph, weights: Weights, native: bool, rescale: Rescale, stops: frozenset[str] | None = None
) -> Plan:
    """Plan whose reverse walk carries DeepLIFT multipliers; its forward pass runs beside one at the reference.

    Args:
        graph, weights, native, stops: as for `make_plan`.
        rescale: the rule's threshold.

    Raises:
        UnsupportedNode: an operation for which there is no rule that conserves.
    """
    return _RescalePlanner(graph, weights, native, stops, rescale.eps).run()


def has_rescale_plan(graph: Graph) -> bool:
    """Whether every node that a signal passes has a rule."""
    varying, live = _varying(graph), graph.leading_to(graph.output)
    return all(_why_not(graph, node, varying) is None for node in graph if node.name in live)


class _RescalePlanner(Planner):
    def __init__(self, graph: Graph, weights: Weights, native: bool, stops: frozenset[str] | None, eps: float):
        super().__init__(graph, weights, native, stops)
        self.eps = eps
        self.varying = _varying(graph)

    def run(self) -> Plan:
        plan = super().run()
        plan.compares = True
        plan.row_by_row = plan.class_major and all(map(self._row_by_row, self.needed))
        return plan

    def _fuse(self) -> None:
        """Nothing is fused: every ReLU, sum and pool has a multiplier of its own."""

    def _step(self, node: Node) -> Step:
        why = _why_not(self.graph, node, self.varying)
        if why is not None:
            remedy = "Use integrated_gradients, which needs no rule"
            raise UnsupportedNode(node.op, why, node.module_path, node.source, "deep_lift", remedy)
        if node.kind == "clamp":
            return RescaleStep(node, node.inputs, eps=self.eps)
        if node.kind == "max_pool":
            return RescalePoolStep(node, node.inputs, eps=self.eps)
        made = super()._step(node)
        if node.kind != "call":
            return made
        rule = _rule(self.graph, node)
        return RescaleCallStep(
            made.node, made.inputs, static=made.static, batched=made.batched, rule=rule, eps=self.eps
        )

    def _row_by_row(self, name: str) -> bool:
        """Whether dimension 0 holds the rows and nothing else, so that one reference row stands for all."""
        node = self.graph.nodes[name]
        if not node.inputs or node.shape is None:
            return True
        inner = node.shape[1:]
        return node.batch_dim == 0 and None not in inner and node.row_elements == math.prod(inner)


def _why_not(graph: Graph, node: Node, varying: set[str]) -> str | None:
    """Why differences could not be handed on by a node; None if they can."""
    if not node.inputs:
        return None
    given = references(node)
    operands = given[:1] if short_name(node) in _SECOND_IS_SHAPE else given
    if any(name in varying and name not in node.inputs for name in operands):
        return "an operand that depends on the input hands on no signal (a comparison, an index, a detached value)"
    if node.kind == "call" and _rule(graph, node) is None:
        return "there is no DeepLIFT rule that conserves for this operation"
    return None


def _rule(graph: Graph, node: Node) -> Rule | None:
    return rule_for(node, graph.nodes[node.inputs[0]].shape == node.shape)


def _varying(graph: Graph) -> set[str]:
    """Values that change with the explained inputs."""
    found = set(graph.explained)
    for node in graph:
        if node.kind == "int_call" or (not node.inputs and short_name(node) in _SHAPE_ONLY):
            continue
        if any(name in found for name in references(node)):
            found.add(node.name)
    return found
