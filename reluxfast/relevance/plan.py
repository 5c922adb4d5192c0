"""Graph -> plan: dead values dropped, batch norms folded, residual adds and pools fused with their ReLUs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from reluxfast.graph import Graph, Node
from reluxfast.graph.fold import affine, foldable, folded
from reluxfast.graph.node import in_dtype, references
from reluxfast.graph.weights import Weights
from reluxfast.relevance.calls import AuxStep, CallStep, ItemStep, is_item
from reluxfast.relevance.maps import ConvMap, LinearMap
from reluxfast.relevance.spare import Spare
from reluxfast.relevance.steps import AddStep, AffineStep, ConvStep, GateStep, LinearStep, PoolStep, Step, is_relu

# What one plan may hold between two calls.
SPARE_BYTES = 256 << 20
_STATIC = ("param", "constant", "static_call")


@dataclass
class Plan:
    """What is run for one graph, one set of values to look at and one state of the weights.

    Attributes:
        graph: the captured graph.
        steps: operations in execution order; the value of a step has its node's name.
        stops: values at which a reverse walk ends (inputs, or layers that were asked for).
        live: values on a way from a stop to the output: their steps take part in the reverse walk.
        class_major: whether several signals per row may share one walk (every batch is dimension 0).
        relevance: stops at which a signal is relevance; at the others it is a derivative or a multiplier of the value.
        spare: memory that its tapes hand on to each other.
        compares: whether its forward pass runs beside one at a reference.
        row_by_row: whether dimension 0 of every value holds the rows and nothing else.
    """

    graph: Graph
    steps: list[Step]
    stops: frozenset[str]
    live: frozenset[str]
    class_major: bool
    relevance: frozenset[str] = frozenset()
    spare: Spare = field(default_factory=lambda: Spare(SPARE_BYTES))
    compares: bool = False
    row_by_row: bool = False

    @property
    def output(self) -> str:
        return self.graph.output

    def last_reads(self) -> dict[str, int]:
        """Value -> position of the last step that reads it; the output is read after the last step."""
        found: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            for name in step.reads:
                found[name] = i
        found[self.output] = len(self.steps)
        return found


def make_plan(graph: Graph, weights: Weights, native: bool, stops: frozenset[str] | None = None) -> Plan:
    """Plan for `graph`.

    Args:
        graph: the captured graph.
        weights: static values in the dtype to compute in.
        native: whether compiled kernels and prepacked library calls may be used.
        stops: values where reverse walks end; they are computed as such, never fused away. Default: the inputs.
    """
    return Planner(graph, weights, native, stops).run()


class Planner:
    """Makes the plan of a gradient walk; `_fuse` and `_step` are what another kind of walk does differently."""

    def __init__(self, graph: Graph, weights: Weights, native: bool, stops: frozenset[str] | None, fold: bool = True):
        self.graph, self.weights, self.native = graph, weights, native
        self.stops = stops or frozenset(graph.explained)
        self.keep = self.stops | {graph.output}
        self.users = graph.users()
        self.needed = self._needed()
        for name in self.users:
            self.users[name] = [u for u in self.users[name] if u in self.needed]
        folds = foldable(graph, self.keep).items() if fold else ()
        self.fold_of = folds = {bn: source for bn, source in folds if bn in self.needed}
        self.dropped = set(folds.values())  # values that are never computed as such
        self.residual: dict[str, tuple[str, str]] = {}
        self.pooled: dict[str, str] = {}

    def run(self) -> Plan:
        self._fuse()
        steps = [
            self._step(node)
            for node in self.graph
            if node.name in self.needed and node.name not in self.dropped and node.kind not in (*_STATIC, "input")
        ]
        self._mark_in_place(steps)
        live = self._live(steps)
        return Plan(self.graph, steps, self.stops, live, self._class_major())

    def _needed(self) -> set[str]:
        needed, todo = set(), [self.graph.output]
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += references(self.graph.nodes[name])
        return needed

    def _single_use(self, name: str) -> bool:
        return len(self.users[name]) == 1 and name not in self.keep

    def _fuse(self) -> None:
        nodes = self.graph.nodes
        for node in self.graph:
            if node.name not in self.needed:
                continue
            if node.kind == "clamp":
                source = nodes[node.inputs[0]]
                if source.kind == "add" and self._single_use(source.name) and source.inputs[0] != source.inputs[1]:
                    self.residual[node.name] = self._ordered(source)
                    self.dropped.add(source.name)
            elif node.kind == "max_pool":
                source = nodes[node.inputs[0]]
                if is_relu(source) and self._single_use(source.name) and source.name not in self.residual:
                    self.pooled[node.name] = source.inputs[0]
                    self.dropped.add(source.name)

    def _ordered(self, add: Node) -> tuple[str, str]:
        """The operands of an add, the one whose memory can be reused in front."""
        a, b = add.inputs
        maps = ("conv", "linear", "batch_norm")
        if (
            self._single_use(b)
            and self.graph.nodes[b].kind in maps
            and not (self._single_use(a) and self.graph.nodes[a].kind in maps)
        ):
            return b, a
        return a, b

    def _step(self, node: Node) -> Step:
        kind = node.kind
        if kind == "batch_norm" and node.name in self.fold_of:
            source = self.graph.nodes[self.fold_of[node.name]]
            return self._map(node, source, node)
        if kind in ("conv", "linear"):
            return self._map(node, node, None)
        if kind == "batch_norm":
            scale, shift = (v.to(self.weights.dtype) for v in affine(node, self.weights))
            return AffineStep(node, node.inputs, scale=scale, shift=shift)
        if kind == "clamp":
            if node.name in self.residual:
                return GateStep(node, self.residual[node.name], residual=self.residual[node.name][1])
            return GateStep(node, node.inputs)
        if kind == "max_pool":
            if node.name in self.pooled:
                return PoolStep(node, (self.pooled[node.name],), relu=True)
            return PoolStep(node, node.inputs)
        if kind == "add":
            return AddStep(node, node.inputs)
        args, kwargs = in_dtype((node.args, node.kwargs), self.weights.dtype)
        node = replace(node, args=args, kwargs=kwargs)
        if kind in ("aux_call", "int_call"):
            return AuxStep(node, (), static=self.weights.__getitem__)
        if is_item(node.target):
            return ItemStep(node, node.inputs)
        batched = frozenset(n for n in references(node) if self._batch_first(n))
        return CallStep(node, node.inputs, static=self.weights.__getitem__, batched=batched)

    def _map(self, node: Node, source: Node, batch_norm: Node | None) -> Step:
        made = self._map_of(source, *folded(source, batch_norm, self.weights))
        kind = LinearStep if source.kind == "linear" else ConvStep
        return kind(node, source.inputs, map=made)

    def _map_of(self, source: Node, weight: torch.Tensor, bias: torch.Tensor | None) -> ConvMap | LinearMap:
        """The map of a convolution or linear node, with another weight and bias than its own."""
        if source.kind == "linear":
            return LinearMap(weight, bias, self.native)
        a = source.attrs
        return ConvMap(
            weight,
            bias,
            a["stride"],
            a["padding"],
            a["dilation"],
            a["transposed"],
            a["output_padding"],
            a["groups"],
            self.native,
            a["after"],
        )

    def _batch_first(self, name: str) -> bool:
        node = self.graph.nodes[name]
        if node.shape is None:  # several results: their items tell
            return all(self._batch_first(u) for u in self.users[name]) and bool(self.users[name])
        return node.batch_dim == 0

    def _mark_in_place(self, steps: list[Step]) -> None:
        makers = {step.name: step for step in steps}
        reads: dict[str, int] = {}
        for step in steps:
            for name in step.reads:
                reads[name] = reads.get(name, 0) + 1
        for step in steps:
            if step.reuses_first and step.inputs.count(step.inputs[0]) == 1:
                maker = makers.get(step.inputs[0])
                fresh = maker is not None and maker.makes_fresh
                step.in_place = fresh and reads[maker.name] == 1 and maker.name not in self.keep

    def _live(self, steps: list[Step]) -> frozenset[str]:
        reached = set(self.stops)
        for step in steps:
            if any(n in reached for n in step.inputs):
                reached.add(step.name)
        wanted = {self.graph.output}
        for step in reversed(steps):
            if step.name in wanted and step.name in reached:
                wanted.update(n for n in step.inputs if n in reached)
        return frozenset(reached & wanted)

    def _class_major(self) -> bool:
        for name in self.needed:
            node = self.graph.nodes[name]
            if node.kind == "int_call" or (node.inputs and node.shape is not None and node.batch_dim != 0):
                return False
            # A state or an index made for N rows cannot be told from one that belongs to them.
            if node.kind == "aux_call" and (node.shape is None or None in node.shape):
                return False
        return self.graph.batch is None
