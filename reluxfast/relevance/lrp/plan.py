"""Graph and rules -> plan of a relevance walk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from reluxfast import rules
from reluxfast.errors import InvalidInput, UnsupportedNode
from reluxfast.graph import Graph, Node
from reluxfast.graph.fold import folded
from reluxfast.graph.weights import Weights
from reluxfast.relevance.calls import AuxStep, ItemStep
from reluxfast.relevance.lrp.kinds import kind_of, not_negative, passes_zero
from reluxfast.relevance.lrp.parts import MAP_RULES, PLAIN, Part, Weight, parts_of
from reluxfast.relevance.lrp.steps import (
    MULTIPLIER,
    RELEVANCE,
    Bound,
    BoundPart,
    CarryStep,
    DerivativeStep,
    ItemOfStep,
    MapStep,
    PassStep,
    RelevanceStep,
    SumStep,
)
from reluxfast.relevance.maps import ConvMap, LinearMap
from reluxfast.relevance.plan import Plan, Planner
from reluxfast.relevance.steps import Step
from reluxfast.rules import Rule

# Where derivative and LRP-0 are one: the result holds elements of an operand.
_EXACT = ("carry", "max_pool")
Assignment = Mapping[str, Rule | None]


def make_relevance_plan(
    graph: Graph, weights: Weights, native: bool, assigned: Assignment, stops: frozenset[str] | None = None
) -> Plan:
    """Plan whose reverse walk carries relevance.

    Args:
        graph, weights, native, stops: as for `make_plan`.
        assigned: value -> rule of the node that makes it (of a folded batch norm for its map).

    Returns:
        The plan; `plan.relevance` names the stops whose signals are relevance, all others are multipliers.
    """
    return _RelevancePlanner(graph, weights, native, stops, assigned).run()


class _RelevancePlanner(Planner):
    def __init__(
        self, graph: Graph, weights: Weights, native: bool, stops: frozenset[str] | None, assigned: Assignment
    ):
        super().__init__(graph, weights, native, stops)
        self.assigned = assigned
        self.positive = not_negative(graph)
        self.clamped: dict[str, str] = {}  # clamp -> the map or sum that it became part of
        self.one_branch: set[str] = set()

    def run(self) -> Plan:
        self._fuse_clamps()
        plan = super().run()
        self._settle_forms(plan)
        return plan

    def _fuse(self) -> None:
        """Neither residual additions nor pools are fused as in the gradient walk: both need their own factor."""

    def _fuse_clamps(self) -> None:
        for node in self.graph:
            if node.kind != "clamp" or node.name not in self.needed or node.attrs["lo"] != 0:
                continue
            source = self.graph.nodes[node.inputs[0]]
            maps = source.kind in ("conv", "linear") or source.name in self.fold_of
            sums = kind_of(source) == "sum" and source.kind != "batch_norm"
            ruled = self._rule(source) is not None and self._hands_on(node)
            if (maps or sums) and self._single_use(source.name) and ruled:
                self.clamped[node.name] = source.name
                self.dropped.add(source.name)

    def _hands_on(self, clamp: Node) -> bool:
        """Whether a clamp's rule hands relevance on as a map's own step does with what is not zero."""
        rule = self._rule(clamp)
        return isinstance(rule, rules.Pass) or (isinstance(rule, rules.Gradient) and math.isinf(clamp.attrs["hi"]))

    def _rule(self, node: Node) -> Rule | None:
        return self.assigned.get(node.name)

    def _step(self, node: Node) -> Step:
        if node.name in self.clamped:
            step = self._ruled(self.graph.nodes[self.clamped[node.name]], node, (node.attrs["lo"], node.attrs["hi"]))
            step.gated = isinstance(self._rule(node), rules.Gradient)
            return step
        return self._ruled(node, node, None)

    def _ruled(self, node: Node, value: Node, bounds: tuple[float, float] | None) -> Step:
        """The step for `node`; its value is named after `value`, the clamp behind it if that is part of the step."""
        if node.kind in ("aux_call", "int_call"):
            return super()._step(node)
        is_map = node.kind in ("conv", "linear") or node.name in self.fold_of
        rule = self._rule(node)
        if is_map and type(rule) in MAP_RULES:
            return self._map_step(node, value, rule, bounds)
        # What it keeps is kept under the name of the step's value.
        inner = super()._step(node if value is node else replace(node, name=value.name))
        if isinstance(inner, AuxStep):
            return inner
        if isinstance(inner, ItemStep):
            return ItemOfStep(value, inner.inputs, inner=inner)
        kind = kind_of(node)
        if kind == "shift" and rule is None:
            rule = rules.Pass()
        if isinstance(rule, rules.Pass) and kind in ("activation", "batch_norm", "convolution", "linear", "shift"):
            if node.shape != self.graph.nodes[node.inputs[0]].shape:
                raise self._refused(node, "passes relevance on although input and output have different shapes")
            return PassStep(value, inner.inputs, inner=inner, ratio=kind == "activation" and passes_zero(node))
        if isinstance(rule, rules.Gradient):
            return DerivativeStep(value, inner.inputs, inner=inner, exact=node.kind == "clamp" or kind in _EXACT)
        if isinstance(rule, rules.Zero):
            return SumStep(value, inner.inputs, inner=inner, epsilon=None, bounds=bounds)
        if isinstance(rule, rules.Norm | rules.Epsilon) and kind in ("sum", "shift", "batch_norm"):
            return SumStep(value, inner.inputs, inner=inner, epsilon=rule.epsilon, bounds=bounds)
        if kind in ("carry", "max_pool", "scale") and (rule is None or isinstance(rule, rules.Pass)):
            return CarryStep(value, inner.inputs, inner=inner, unchanged=kind == "scale")
        if rule is None:
            raise self._refused(node, "has no LRP rule")
        raise self._refused(node, f"cannot follow the rule {type(rule).__name__}")

    def _refused(self, node: Node, why: str) -> UnsupportedNode:
        return UnsupportedNode(
            node.op,
            f"the node {why}",
            node.module_path,
            node.source,
            "lrp",
            'Give it a rule with layer_rules={path: rule}, or pass fallback="gradient"',
        )

    def _map_step(self, node: Node, value: Node, rule: Rule, bounds: tuple[float, float] | None) -> MapStep:
        source = self.graph.nodes[self.fold_of[node.name]] if node.name in self.fold_of else node
        weight, bias = folded(source, None if source is node else node, self.weights)
        x = source.inputs[0]
        not_negative_input = x in self.positive
        parts = parts_of(rule, not_negative_input)
        if bounds is not None and not_negative_input and isinstance(rule, rules.Gamma):
            # Behind a ReLU no relevance comes back where z <= 0, unless it is carried as such.
            self.one_branch.add(value.name)
        made: dict[tuple[Weight, Weight | None], ConvMap | LinearMap] = {}

        def build(w: Weight, b: Weight | None) -> ConvMap | LinearMap:
            if (w, b) not in made:
                made[w, b] = self._map_of(source, w.of(weight), None if b is None or bias is None else b.of(bias))
            return made[w, b]

        main = build(PLAIN, PLAIN)
        step = MapStep(value, source.inputs, map=main, bounds=bounds)
        step.parts = [_bound(part, parts, bias, build, self.weights.dtype != torch.float64) for part in parts]
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
        form: dict[str, str] = {}
        steps = [s for s in plan.steps if isinstance(s, RelevanceStep)]
        for step in reversed(steps):
            step.form = form.get(step.name, MULTIPLIER)
            for name in step.inputs:
                if _native(step) == RELEVANCE:
                    form[name] = RELEVANCE
        for step in steps:
            step.hands = {name: form.get(name, MULTIPLIER) for name in step.inputs}
        for step in steps:
            if isinstance(step, MapStep) and step.name in self.one_branch and step.form == MULTIPLIER:
                step.parts = step.parts[:1]
        plan.relevance = frozenset(n for n in plan.stops if form.get(n) == RELEVANCE)


def _native(step: RelevanceStep) -> str:
    if isinstance(step, MapStep | PassStep | DerivativeStep):
        return step.native
    return MULTIPLIER if isinstance(step, SumStep) else step.form


def _bound(part: Part, parts: tuple[Part, ...], bias: torch.Tensor | None, build: Callable, mixed: bool) -> BoundPart:
    """The part's maps; a denominator that follows from z and the first part's is not computed again."""
    terms = [Bound(t.operand, build(t.weight, None)) for t in part.terms]
    in_denominator = None if bias is None or part.bias is None else part.bias.of(bias)
    # The difference of two sums loses digits: enough are left in float32 alone, where the passes count.
    mixture = _mixture(part, parts[0], bias is not None) if mixed or part.denominator[0].weight == PLAIN else None
    if mixture is not None:
        return BoundPart(part, [], terms, mixture, in_denominator)
    denominator = [
        Bound(t.operand, build(t.weight, part.bias if i == 0 else None)) for i, t in enumerate(part.denominator)
    ]
    return BoundPart(part, denominator, terms, bias=in_denominator)


def _mixture(part: Part, first: Part, has_bias: bool) -> tuple[float, float] | None:
    """Factors of z = Wx + b and of the first part's D that give this part's D, if they do."""
    if len(part.denominator) != 1 or part.denominator[0].operand != "x":
        return None
    wanted = _signed(part.denominator[0].weight)
    if wanted is None or (has_bias and part.bias != part.denominator[0].weight):
        return None
    if wanted == (1.0, 1.0):
        return (1.0, 0.0)
    if part is first or first.denominator[0].operand != "x" or len(first.denominator) != 1:
        return None
    base = _signed(first.denominator[0].weight)
    if base is None or base[0] == base[1] or (has_bias and first.bias != first.denominator[0].weight):
        return None
    # wanted = of_z (1, 1) + of_first base, for the factors of W⁺ and of W⁻.
    of_first = (wanted[0] - wanted[1]) / (base[0] - base[1])
    return wanted[0] - of_first * base[0], of_first


def _signed(weight: Weight) -> tuple[float, float] | None:
    """Factors of W⁺ and W⁻, if that is all there is."""
    if weight.square or weight.ones or weight.sign:
        return None
    return weight.plain + weight.positive, weight.plain + weight.negative
