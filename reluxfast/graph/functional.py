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

from reluxfast.errors import UnsupportedNode

# In eval mode these return the very tensor they are given.
_IDENTITY = {
    "aten::dropout",
    "aten::feature_dropout",
    "aten::alpha_dropout",
    "aten::feature_alpha_dropout",
    "aten::alias",
}
# Composite operations that always make new memory.
_NEW_MEMORY = set(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear batch_norm layer_norm group_norm "
    "instance_norm max_pool1d max_pool2d max_pool3d avg_pool1d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d relu6 selu softmax log_softmax matmul upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d "
    "upsample_bicubic2d "
    "scaled_dot_product_attention gt where lift_fresh_copy pad cat concat stack sym_size".split()
)


class NotSimple(Exception):
    """The graph writes into memory that another view reads later."""


def value_forms(graph: fx.Graph) -> tuple[dict[fx.Node, object], dict[fx.Node, dict[fx.Node, fx.Node]]]:
    """How to run `graph` without writing into anything.

    Returns:
        targets: in-place node -> the out-of-place overload that computes its value.
        renames: node -> {operand as written: node that holds its value at that point}.

    Raises:
        NotSimple: a view of a written tensor is read after the write.
        UnsupportedNode: the same, where it cannot be known what is a view.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    same: dict[fx.Node, list[fx.Node]] = {}  # names of one tensor
    shared: dict[fx.Node, list[fx.Node]] = {}  # names of tensors that may share memory
    current: dict[fx.Node, fx.Node] = {}
    targets: dict[fx.Node, object] = {}
    renames: dict[fx.Node, dict[fx.Node, fx.Node]] = {}
    # Operations that may return a view without saying so: PyTorch's own pass trusts their schemas too.
    unspoken = {n.target for n in graph.nodes if n.op == "call_function" and _may_return_view(n)}

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
                    silent = next((n for n in shared[base] if n.target in unspoken), None)
                    if silent is not None:
                        raise UnsupportedNode(
                            _name(silent).replace("::", "."),
                            "the model writes into its result, which may share memory with a value that is read later",
                            remedy="Write x = x + y instead of x += y there",
                        )
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
    if _may_return_view(node):
        return node.all_input_nodes
    return [n for argument, value in _arguments(node) if argument.alias_info is not None for n in _nodes_in(value)]


def _may_return_view(node: fx.Node) -> bool:
    """Composite operations may return a view without saying so in their schema (einsum, atleast_3d)."""
    if not isinstance(node.target, torch._ops.OpOverload) or any(a.alias_info for a, _ in _arguments(node)):
        return False
    short = _name(node).partition("::")[2]
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return short not in _NEW_MEMORY and node.target.has_kernel_for_dispatch_key(composite)


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
