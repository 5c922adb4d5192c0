"""Which rule each node of a captured network gets from a composite that maps modules to rules.

A node belongs to the innermost module that it is called in. Where that is a layer, the composite says what it gets;
operations that a model writes out (`F.relu(x)`, `x + y`, `x.mean(1)`) are shown to it as the layer of PyTorch that does
the same. "First" means first in the order of `named_modules()`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules import activation

from reluxfast.compat.zennit.errors import WrongType
from reluxfast.compat.zennit.layer import Sum
from reluxfast.compat.zennit.rules import fitted
from reluxfast.errors import InvalidInput
from reluxfast.graph import Graph, Node
from reluxfast.relevance.lrp.kinds import kind_of, short_name
from reluxfast.rules import Gradient, Pass, Rule

ModuleMap = Callable[[dict, str, nn.Module], Rule | None]

# Winners and reshapes: the derivative and what the engine does without a rule are the same.
CARRIES = ("carry", "max_pool")
_MAPS = ("convolution", "linear")
_ACTIVATIONS = {name.lower(): getattr(activation, name) for name in activation.__all__}


def node_rules(module_map: ModuleMap, model: nn.Module, graph: Graph) -> dict[str, Rule | None]:
    """Value -> rule of the node that makes it; None: the engine's way without a rule, or its refusal.

    A layer that the composite gives no rule is walked by its derivative. Under a composite that passes relevance
    through ReLUs, that is not done to operations that have no LRP rule, or are written out and only scale or shift.

    Args:
        module_map: (context, name, module) -> rule or None.
        model: the captured model.
        graph: its graph.

    Raises:
        InvalidInput: a module that is given a rule is no single layer, or what it is given is no rule.
    """
    assigner = _Assigner(module_map, model, graph)
    return {node.name: assigner.rule(node) for node in assigner.nodes}


class _Assigner:
    def __init__(self, module_map: ModuleMap, model: nn.Module, graph: Graph):
        self.module_map, self.context = module_map, {}
        self.nodes = [node for node in graph if node.inputs]
        self.graph = graph
        self.modules = dict(model.named_modules())
        self.names = {alias: name for name in self.modules for alias in graph.modules.get(name, (name,))}
        self.sizes = Counter(_call(node) for node in self.nodes if kind_of(node) != "carry")
        self.early: dict[str, Rule | None] = {}
        first = next((node for node in self.nodes if kind_of(node) in _MAPS), None)
        if first is not None and self._is_written_out(first):
            # In front of all layers, it is the first of them.
            self.early[first.name] = self._chosen_for(first)
        named = {name: self._chosen(self.context, name, module) for name, module in self.modules.items()}
        self.chosen = {name: rule for name, rule in named.items() if rule is not None}
        self.of_relevance = isinstance(self._chosen({}, ":relu", _bare(nn.ReLU)), Pass)

    def rule(self, node: Node) -> Rule | None:
        name = self.names[node.module_path]
        if name in self.chosen:
            return self._of_layer(node, name)
        outside = {"", *(self.names[path] for path, _ in node.modules)} - {name}
        for container in sorted(outside & self.chosen.keys()):
            self._refuse(container)
        if not self._is_layer(self.modules[name]):
            rule = self.early[node.name] if node.name in self.early else self._chosen_for(node)
            if rule is not None:
                return self._fitted(rule, node)
            if self.of_relevance and kind_of(node) in ("scale", "shift"):
                return None
        if self.of_relevance and kind_of(node) in ("other", "product"):
            return None
        return None if kind_of(node) in CARRIES else Gradient()

    def _of_layer(self, node: Node, name: str) -> Rule | None:
        if kind_of(node) == "carry":
            return None
        if self.sizes[_call(node)] > 1:
            self._refuse(name)
        return self._fitted(self.chosen[name], node)

    def _refuse(self, name: str) -> None:
        what = f"{type(self.chosen[name]).__name__} for {name!r}, a {type(self.modules[name]).__name__}"
        raise InvalidInput("composite", "must give rules to single layers", what, "Map the layers inside it instead")

    def _fitted(self, rule: Rule, node: Node) -> Rule:
        shape = self.graph.nodes[node.inputs[0]].shape
        return rule if shape is None else fitted(rule, len(shape))

    def _is_written_out(self, node: Node) -> bool:
        name = self.names[node.module_path]
        module = self.modules[name]
        return not self._is_layer(module) and self._chosen({}, name, module) is None

    def _is_layer(self, module: nn.Module) -> bool:
        """Whether a module is one of PyTorch's own, without others inside."""
        return type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None

    def _chosen_for(self, node: Node) -> Rule | None:
        """For an operation that is written out."""
        kind = _layer_type(node)
        if kind is None:
            return None
        return self._chosen(self.context, f"{node.module_path}:{short_name(node)}", _bare(kind))

    def _chosen(self, context: dict, name: str, module: nn.Module) -> Rule | None:
        rule: Any = self.module_map(context, name, module)
        if rule is not None and not isinstance(rule, Rule):
            made = "must map to rules of reluxfast.compat.zennit"
            raise WrongType("composite", made, f"{rule!r} for {name!r}", "Import the rules from there, and call them")
        return rule


def _call(node: Node) -> tuple[str, int]:
    """The innermost module call that a node belongs to."""
    return node.modules[-1] if node.modules else ("", 0)


def _bare(kind: type[nn.Module]) -> nn.Module:
    """An instance to look at the type of; its constructor might draw random numbers."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    return module


def _layer_type(node: Node) -> type[nn.Module] | None:
    """The layer that does what a written-out operation does; None if there is none."""
    kind, short = kind_of(node), short_name(node)
    dims = min(max(len(node.shape or ()) - 2, 1), 3)
    if kind == "convolution":
        return getattr(nn, f"{'ConvTranspose' if node.attrs['transposed'] else 'Conv'}{dims}d")
    if kind == "linear":
        return nn.Linear
    if kind == "batch_norm":
        return getattr(nn, f"BatchNorm{dims}d")
    if kind == "max_pool":
        return getattr(nn, f"MaxPool{dims}d")
    if kind == "activation":
        return _activation_type(node, short)
    if kind == "sum":
        if "avg_pool" in short:
            return getattr(nn, f"AvgPool{dims}d")
        return nn.AvgPool2d if short == "mean" else nn.Upsample if "upsample" in short else Sum
    return None


def _activation_type(node: Node, short: str) -> type[nn.Module]:
    if node.kind == "clamp":
        low, high = node.attrs["lo"], node.attrs["hi"]
        return nn.Hardtanh if low != 0 else nn.ReLU if math.isinf(high) else nn.ReLU6
    # Any activation that is no ReLU, for the few functions that no layer is named after.
    return _ACTIVATIONS.get(short.replace("_", ""), nn.Hardtanh)
