"""Rewrites the few in-place operations of an exported graph as value operations, exactly, or says that it cannot.

Writing into a tensor changes every tensor that shares its memory. As long as only names of the very same tensor are
read afterwards, the write is a new value under an old name. A view read after a write through another view is not
that simple: such graphs go through PyTorch's own functionalisation.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
from torch import fx

# In eval mode these return the very tensor they are given.
_IDENTITY = {
    "aten::dropout",
    "aten::feature_dropout",
    "aten::alpha_dropout",
    "aten::feature_alpha_dropout",
    "aten::alias",
}


class NotSimple(Exception):
    """The graph writes into memory that another view reads later."""


def value_forms(graph: fx.Graph) -> tuple[dict[fx.Node, object], dict[fx.Node, dict[fx.Node, fx.Node]]]:
    """How to run `graph` without writing into anything.

    Returns:
        targets: in-place node -> the out-of-place overload that computes its value.
        renames: node -> {operand as written: node that holds its value at that point}.

    Raises:
        NotSimple: a view of a written tensor is read after the write.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    same: dict[fx.Node, list[fx.Node]] = {}  # names of one tensor
    shared: dict[fx.Node, list[fx.Node]] = {}  # names of tensors that may share memory
    current: dict[fx.Node, fx.Node] = {}
    targets: dict[fx.Node, object] = {}
    renames: dict[fx.Node, dict[fx.Node, fx.Node]] = {}

    for node in graph.nodes:
        renames[node] = {n: current[n] for n in node.all_input_nodes if current.get(n, n) is not n}
        current[node] = node
        same[node], shared[node] = [node], [node]
        if node.op != "call_function":
            continue
        written = _written(node)
        if written:
            if len(written) > 1:
                raise NotSimple(f"{node.target} writes into several tensors")
            (base,) = written
            targets[node] = _out_of_place(node)
            mates = same[base]
            for other in shared[base]:
                if other not in mates and any(order[user] > order[node] for user in other.users):
                    raise NotSimple(f"{other} shares memory with {base}, which {node.target} writes into")
            for name in mates:
                current[name] = node
            same[node] = mates
            mates.append(node)
            # Views of the old value that nobody reads any more are forgotten.
            shared[node] = mates
            for name in mates:
                shared[name] = mates
            continue
        for base in _aliased(node):
            merged = list(dict.fromkeys([*shared[base], *shared[node]]))
            for name in merged:
                shared[name] = merged
            if _name(node) in _IDENTITY:
                union = list(dict.fromkeys([*same[base], *same[node]]))
                for name in union:
                    same[name] = union
    return targets, renames


def _name(node: fx.Node) -> str:
    return getattr(getattr(node.target, "_schema", None), "name", "")


def _arguments(node: fx.Node) -> Iterable[tuple[object, object]]:
    """(schema argument, value given) of a call."""
    schema = node.target._schema
    for i, argument in enumerate(schema.arguments):
        if i < len(node.args):
            yield argument, node.args[i]
        elif argument.name in node.kwargs:
            yield argument, node.kwargs[argument.name]


def _nodes_in(value: object) -> list[fx.Node]:
    if isinstance(value, fx.Node):
        return [value]
    if isinstance(value, (list, tuple)):
        return [n for v in value for n in _nodes_in(v)]
    return []


def _written(node: fx.Node) -> list[fx.Node]:
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    found = []
    for argument, value in _arguments(node):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += _nodes_in(value)
    return found


def _aliased(node: fx.Node) -> list[fx.Node]:
    """Operands that the result may share memory with."""
    if node.target is operator.getitem:
        return _nodes_in(node.args[0])
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.all_input_nodes
    if _name(node) in _IDENTITY:
        return _nodes_in(node.args[0])
    return [n for argument, value in _arguments(node) if argument.alias_info is not None for n in _nodes_in(value)]


def _out_of_place(node: fx.Node) -> object:
    name = node.target._schema.name.split("::")[1]
    if not name.endswith("_") or name.endswith("__"):
        raise NotSimple(f"{node.target} has no value form of the same signature")
    packet = getattr(torch.ops.aten, name[:-1], None)
    overload = getattr(packet, node.target._overloadname, None) if packet is not None else None
    same_arguments = overload is not None and [a.name for a in overload._schema.arguments] == [
        a.name for a in node.target._schema.arguments
    ]
    if name in ("copy_", "set_", "resize_", "as_strided_") or not same_arguments:
        raise NotSimple(f"{node.target} has no value form of the same signature")
    return overload
