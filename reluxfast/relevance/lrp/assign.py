"""Which rule each node of a graph gets from a composite and from overrides by module path."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from reluxfast.composites import Composite, Layer, by_kind
from reluxfast.errors import InvalidInput
from reluxfast.graph import Graph, Node
from reluxfast.graph.fold import foldable
from reluxfast.relevance.lrp.kinds import kind_of
from reluxfast.rules import SHARES, Gradient, Product, Rule, Zero

_MAPS = ("convolution", "linear")
# Kinds that have a way of their own without a rule.
_NEED_NONE = ("max_pool", "carry", "scale", "shift")


def assign(
    graph: Graph,
    composite: Composite | Rule,
    layer_rules: Mapping[str, Rule] | None = None,
    fallback: str | None = None,
    products: str | None = None,
    fold: bool = True,
) -> dict[str, Rule | None]:
    """Value -> rule of the node that makes it.

    Args:
        graph: the captured graph.
        composite: function layer -> rule; or one rule for all convolutions and linear maps.
        layer_rules: module path -> rule, above the composite; a path that holds several nodes means its convolutions
            and linear maps.
        fallback: "gradient": nodes without an LRP rule are walked by their derivative; None: they are an error.
        products: share of `rules.Product` for products of two values, where nothing else gives them a rule.
        fold: whether batch norms are folded where they can be, and so follow the rule of the map in front.

    Raises:
        InvalidInput: an argument has the wrong form, or a path is none of the model's.
    """
    if fallback not in (None, "gradient"):
        raise InvalidInput("fallback", 'must be None or "gradient"', repr(fallback))
    if products is not None and products not in SHARES:
        raise InvalidInput("products", f"must be None or one of {', '.join(SHARES)}", repr(products))
    if layer_rules is not None and not isinstance(layer_rules, Mapping):
        raise InvalidInput("layer_rules", "must be a dict of module path -> rule", type(layer_rules).__name__)
    overrides = _checked(graph, layer_rules or {})
    choose = _one_rule(composite) if isinstance(composite, Rule) else composite
    if isinstance(choose, type) and issubclass(choose, Rule):
        raise InvalidInput("composite", "must be a rule, not its class", choose.__name__, f"Pass {choose.__name__}()")
    if not callable(choose):
        raise InvalidInput("composite", "must be a name, a function layer -> rule, or a rule", type(composite).__name__)
    folds = foldable(graph, frozenset((graph.output, *graph.inputs))) if fold else {}
    _check_folded(graph, folds, overrides)
    maps = [node for node in graph if kind_of(node) in _MAPS and node.inputs]
    first = maps[0].name if maps else None
    first_convolution = next((node.name for node in maps if kind_of(node) == "convolution"), None)
    found: dict[str, Rule | None] = {}
    for node in graph:
        if not node.inputs:
            continue
        kind = kind_of(node)
        is_first, is_first_convolution = node.name == first, node.name == first_convolution
        layer = Layer(kind, node.op, node.module_path, is_first, is_first_convolution, node.name)
        rule = overrides.get(_override(node, kind, overrides)) or choose(layer)
        if rule is not None and not isinstance(rule, Rule):
            raise InvalidInput("composite", "must return a rule of reluxfast.rules or None", repr(rule))
        if rule is None and kind == "product" and products is not None:
            rule = Product(products)
        if rule is None and fallback is not None and kind not in _NEED_NONE:
            rule = Gradient()
        found[node.name] = rule
    for batch_norm, source in folds.items():
        found[batch_norm] = found[source]
    return found


def _one_rule(rule: Rule) -> Composite:
    return by_kind(rule, rule, rest=rule if isinstance(rule, Zero) else None)


def _override(node: Node, kind: str, overrides: Mapping[str, Rule]) -> str | None:
    if node.module_path in overrides:
        return node.module_path
    if kind not in _MAPS:
        return None
    return next((path for path, _ in reversed(node.modules) if path in overrides), None)


def _check_folded(graph: Graph, folds: Mapping[str, str], overrides: Mapping[str, Rule]) -> None:
    for batch_norm, source in folds.items():
        path, front = graph.nodes[batch_norm].module_path, graph.nodes[source].module_path
        if path in overrides and path != front and not any(path == p for p, _ in graph.nodes[source].modules):
            rule = "names a batch norm that is computed as part of the map in front of it"
            raise InvalidInput("layer_rules", rule, repr(path), f"Give the rule to {front!r}")


def _checked(graph: Graph, layer_rules: Mapping[str, Rule]) -> dict[str, Rule]:
    for path, rule in layer_rules.items():
        if path not in graph.modules:
            listed = sorted(m for m in graph.modules if m)
            listed = difflib.get_close_matches(str(path), listed, 3) or listed[:10]
            there = f"There are: {', '.join(listed)}" if listed else "This model has no modules but itself, ''"
            raise InvalidInput("layer_rules", "must be keyed by paths of modules", repr(path), there)
        if not isinstance(rule, Rule):
            raise InvalidInput("layer_rules", "must map to rules of reluxfast.rules", repr(rule))
    return {alias: rule for path, rule in layer_rules.items() for alias in graph.modules[path]}


def relevance_everywhere(graph: Graph) -> bool:
    """Whether every node that a signal passes has an LRP rule under the named composites."""
    return all(kind_of(node) not in ("other", "product") for node in graph if node.inputs)
