"""Graph and rules -> plan of a relevance walk."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from reluxfast import rules
from reluxfast.errors import InvalidInput, UnsupportedNode
from reluxfast.graph import Graph, Node
from reluxfast.graph.fold import folded
from reluxfast.graph.weights import Weights
from reluxfast.relevance.calls import AuxStep, ItemStep
from reluxfast.relevance.lrp.kinds import can_pass, kind_of, not_negative, passes_zero, signal_of
from reluxfast.relevance.lrp.map_step import MapStep
from reluxfast.relevance.lrp.parts import MAP_RULES, parts_of
from reluxfast.relevance.lrp.rule_maps import RuleMaps
from reluxfast.relevance.lrp.signals import MULTIPLIER, RELEVANCE, RelevanceStep
from reluxfast.relevance.lrp.steps import CarryStep, DerivativeStep, ItemOfStep, PassStep, ProductStep, ReLUStep
from reluxfast.relevance.lrp.sum_step import SumStep
from reluxfast.relevance.plan import Plan, Planner
from reluxfast.relevance.steps import AddStep, Step, is_relu
from reluxfast.rules import Rule

# Where derivative and LRP-0 are one: the result holds elements of an operand.
_EXACT = ("carry", "max_pool")
_OF_RELU = (rules.GuidedBackprop, rules.DeconvNet, rules.BetaSmooth)


@dataclass(frozen=True)
class Assignment:
    """What makes a walk of relevance out of a graph.

    Attributes:
        rules: (value, rule of the node that makes it) pairs; of a folded batch norm the rule for its map.
        storage: of gates, one of `gates.STORAGES`.
        fold: whether batch norms are folded where they can be; else each is a node with a rule of its own.
        start: form of the signals that a walk begins with, MULTIPLIER (of the output) or RELEVANCE.
    """

    rules: tuple[tuple[str, Rule | None], ...]
    storage: str = "full"
    fold: bool = True
    start: str = MULTIPLIER


def make_relevance_plan(
    graph: Graph, weights: Weights, native: bool, assigned: Assignment, stops: frozenset[str] | None = None
) -> Plan:
    """Plan whose reverse walk carries relevance.

    Args:
        graph, weights, native, stops: as for `make_plan`.
        assigned: rules, and how gates are kept.

    Returns:
        The plan; `plan.relevance` names the stops whose signals are relevance, all others are multipliers.
    """
    return _RelevancePlanner(graph, weights, native, stops, assigned).run()


class _RelevancePlanner(Planner):
    def __init__(
        self, graph: Graph, weights: Weights, native: bool, stops: frozenset[str] | None, assigned: Assignment
    ):
        super().__init__(graph, weights, native, stops, assigned.fold)
        self.rules = dict(assigned.rules)
        self.storage = assigned.storage
        self.start = assigned.start
        self.positive = not_negative(graph)
        self.clamped: dict[str, str] = {}  # clamp -> the map or sum that it became part of
        self.rectified: dict[str, Callable] = {}  # what a step runs if it gets multipliers behind its ReLU
        self.reached = self._reached()

    def run(self) -> Plan:
        self._fuse_clamps()
        plan = super().run()
        self._settle_forms(plan)
        return plan

    def _reached(self) -> set[str]:
        """Values that relevance comes to: not those that only make the gates of products."""
        found, todo = set(), [self.graph.output]
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            node = self.graph.nodes[name]
            rule = self._rule(node)
            shared = kind_of(node) == "product" and isinstance(rule, rules.Product) and rule.share == "signal"
            one = signal_of(self.graph, node) if shared else None
            todo += [one] if one else node.inputs
        return found

    def _fuse(self) -> None:
        """Neither residual additions nor pools are fused as in the gradient walk: both need their own factor."""

    def _fuse_clamps(self) -> None:
        for node in self.graph:
            if node.kind != "clamp" or node.attrs["lo"] != 0 or node.name not in self.needed & self.reached:
                continue
            source = self.graph.nodes[node.inputs[0]]
            if self._takes_clamp(source) and self._single_use(source.name) and self._hands_on(node):
                self.clamped[node.name] = source.name
                self.dropped.add(source.name)

    def _takes_clamp(self, node: Node) -> bool:
        """Whether the node's rule is that of a step with gates, which can clamp as well."""
        rule = self._rule(node)
        if node.kind in ("conv", "linear") or node.name in self.fold_of:
            return type(rule) in MAP_RULES
        return kind_of(node) in ("sum", "batch_norm") and isinstance(rule, rules.Norm | rules.Epsilon | rules.Zero)

    def _hands_on(self, clamp: Node) -> bool:
        """Whether a clamp's rule hands relevance on as a map's own step does with what is not zero."""
        rule = self._rule(clamp)
        return isinstance(rule, rules.Pass) or (isinstance(rule, rules.Gradient) and math.isinf(clamp.attrs["hi"]))

    def _rule(self, node: Node) -> Rule | None:
        return self.rules.get(node.name)

    def _step(self, node: Node) -> Step:
        if node.name in self.clamped:
            step = self._ruled(self.graph.nodes[self.clamped[node.name]], node, (node.attrs["lo"], node.attrs["hi"]))
            step.gated = isinstance(self._rule(node), rules.Gradient)
            return step
        return self._ruled(node, node, None)

    def _ruled(self, node: Node, value: Node, bounds: tuple[float, float] | None) -> Step:
        step = self._made(node, value, bounds)
        if isinstance(step, RelevanceStep):
            step.ruled = self.graph.nodes[self.fold_of.get(node.name, node.name)]
        return step

    def _made(self, node: Node, value: Node, bounds: tuple[float, float] | None) -> Step:
        """The step for `node`; its value is named after `value`, the clamp behind it if that is part of the step."""
        if node.kind in ("aux_call", "int_call") or node.name not in self.reached:
            return super()._step(node)
        is_map = node.kind in ("conv", "linear") or node.name in self.fold_of
        rule = self._rule(node)
        if is_map and type(rule) in MAP_RULES:
            return self._map_step(node, value, rule, bounds)
        # What it keeps is kept under the name of the step's value.
        if node.kind == "add":
            inner: Step = AddStep(value, self._ordered(node))
        else:
            inner = super()._step(node if value is node else replace(node, name=value.name))
        if isinstance(inner, AuxStep):
            return inner
        if isinstance(inner, ItemStep):
            return ItemOfStep(value, inner.inputs, inner=inner)
        if is_map:
            # A batch norm that is folded follows the rule of its map.
            node = self.graph.nodes[self.fold_of.get(node.name, node.name)]
        kind = kind_of(node)
        if kind == "shift" and rule is None:
            rule = rules.Pass()
        if isinstance(rule, rules.Pass) and can_pass(node):
            if node.shape != self.graph.nodes[node.inputs[0]].shape:
                raise self._refused(node, "passes relevance on although input and output have different shapes")
            return PassStep(value, inner.inputs, inner=inner, ratio=kind == "activation" and passes_zero(node))
        if isinstance(rule, _OF_RELU) and is_relu(node):
            return ReLUStep(value, inner.inputs, inner=inner, rule=rule)
        if isinstance(rule, rules.Gradient):
            return DerivativeStep(value, inner.inputs, inner=inner, exact=node.kind == "clamp" or kind in _EXACT)
        if isinstance(rule, rules.Zero):
            return SumStep(value, inner.inputs, bounds=bounds, storage=self.storage, inner=inner, epsilon=None)
        if isinstance(rule, rules.Norm | rules.Epsilon) and _divides(rule, node, kind):
            step = SumStep(value, inner.inputs, bounds=bounds, storage=self.storage, inner=inner, unit=True)
            step.epsilon = rule.epsilon
            return step
        if kind in ("carry", "max_pool", "scale") and (rule is None or isinstance(rule, rules.Pass)):
            return CarryStep(value, inner.inputs, inner=inner, unchanged=kind == "scale")
        if isinstance(rule, rules.Product) and kind == "product":
            return self._product(node, value, inner, rule)
        if rule is None:
            raise self._refused(node, "has no LRP rule")
        raise self._refused(node, f"cannot follow the rule {type(rule).__name__}")

    def _product(self, node: Node, value: Node, inner: Step, rule: rules.Product) -> Step:
        signal = signal_of(self.graph, node) if rule.share == "signal" else None
        if rule.share == "signal" and signal is None:
            why = "multiplies two values of which neither is seen to be a gate"
            raise self._refused(node, why, 'Pass products="half", or give it a rule by its module\'s path')
        return ProductStep(value, inner.inputs, inner=inner, signal=signal)

    def _refused(self, node: Node, why: str, remedy: str = "") -> UnsupportedNode:
        if not remedy and kind_of(node) == "product":
            remedy = 'Pass products="half", products="signal", or fallback="gradient"'
        remedy = remedy or 'Give it a rule with layer_rules={path: rule}, or pass fallback="gradient"'
        return UnsupportedNode(node.op, f"the node {why}", node.module_path, node.source, "lrp", remedy)

    def _map_step(self, node: Node, value: Node, rule: Rule, bounds: tuple[float, float] | None) -> MapStep:
        source = self.graph.nodes[self.fold_of[node.name]] if node.name in self.fold_of else node
        weight, bias = folded(source, None if source is node else node, self.weights)
        maps = RuleMaps(weight, bias, source, partial(self._map_of, source))
        positive = source.inputs[0] in self.positive
        step = MapStep(value, source.inputs, map=maps.plain, bounds=bounds, storage=self.storage)
        parts = parts_of(rule, positive)
        step.summand, step.passes = maps.passes(parts)
        if bounds is not None:
            self.rectified[value.name] = partial(maps.passes, parts, rectified=True)
        step.unit = _in_unit_interval(rule, positive)
        if isinstance(rule, rules.ZBox):
            step.low, step.high = (self._box(v, source) for v in (rule.low, rule.high))
        return step

    def _box(self, bound: float | torch.Tensor, source: Node) -> torch.Tensor:
        made = torch.as_tensor(bound, dtype=self.weights.dtype, device=self.weights[source.attrs["weight"]].device)
        row = tuple(self.graph.nodes[source.inputs[0]].shape[1:])
        try:
            return made.expand(row) if made.dim() <= len(row) else made.expand(1, *row)
        except RuntimeError:
            raise InvalidInput("low", f"and high of ZBox must broadcast to a row {row}", tuple(made.shape)) from None

    def _settle_forms(self, plan: Plan) -> None:
        """Multiplier or relevance, for every value, from the output back; relevance where one consumer gives it."""
        form: dict[str, str] = {self.graph.output: self.start}
        steps = [s for s in plan.steps if isinstance(s, RelevanceStep)]
        for step in reversed(steps):
            step.form = form.get(step.name, MULTIPLIER)
            for name in step.inputs:
                if step.native == RELEVANCE:
                    form[name] = RELEVANCE
        for step in steps:
            step.hands = {name: form.get(name, MULTIPLIER) for name in step.inputs}
        for step in steps:
            # Behind a ReLU no relevance comes back where z <= 0, unless it is carried as such.
            if isinstance(step, MapStep) and step.name in self.rectified and step.form == MULTIPLIER:
                step.summand, step.passes = self.rectified[step.name]()
        plan.relevance = frozenset(n for n in plan.stops if form.get(n) == RELEVANCE)


def _divides(rule: Rule, node: Node, kind: str) -> bool:
    """Whether a node that is no map can follow the epsilon rule, as x ⊙ Jᵀ(R / s(y))."""
    if kind in ("convolution", "linear") or node.shape is None:
        return False
    if isinstance(rule, rules.Epsilon) and rule.bias == "zero" and kind in ("batch_norm", "shift"):
        return False  # y has the bias in it
    return len(node.inputs) == 1 or kind in ("sum", "max_pool", "carry")


def _in_unit_interval(rule: Rule, positive: bool) -> bool:
    """Whether the gates of a map behind its ReLU lie in [0, 1]: D is at least z where z > 0."""
    if isinstance(rule, rules.Epsilon):
        return rule.bias != "zero"
    return isinstance(rule, rules.ZPlus | rules.Gamma) and rule.bias != "zero" and (rule.split or positive)
