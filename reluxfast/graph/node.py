"""The typed graph that the engine walks: what a captured network is made of.

A graph is a list of nodes in execution order. Values are named; nothing is ever written in place. Dimension 0 of
every input is the batch, and `BATCH` stands for its size wherever an operation needs it as a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Ref:
    """A named value inside the arguments of a call."""

    name: str


BATCH = Ref("<batch>")


@dataclass
class Node:
    """One value of the network and the operation that makes it.

    Attributes:
        name: unique name of the value.
        kind: "input", "param", "constant", "static_call" (depends on no input), "int_call" (makes a number), "aux_call"
            (carries no gradient), "call" (keeps its inputs for its VJP), "linear_call" (whose VJP needs none), or an
            operation with attributes of its own: "conv", "linear", "batch_norm", "clamp", "max_pool", "add".
        target: the callable to run (an ATen overload or `operator.getitem`), None for inputs, params and constants.
        args, kwargs: its arguments, with `Ref` for values.
        inputs: names of the operands that carry gradient to the explained input, in argument order.
        attrs: typed attributes of the kind (conv: weight, bias, stride, ...; clamp: lo, hi; ...).
        shape: shape with None where a dimension depends on the batch; None for values that are no tensors.
        row_elements: number of elements per row of the batch; 0 where no dimension depends on it.
        dtype: dtype of a tensor value.
        batch_dim: the dimension that is the batch, None if there is none.
        module_path: dotted path of the innermost module it was called in, "" for the root.
        modules: (path, call number) of every enclosing module call, outermost first.
        op: ATen name, for messages.
        source: file, line number and text of the call, "" if unknown.
        path: for params: attribute path on the model.
        value: for constants: the tensor.
    """

    name: str
    kind: str
    target: Callable | None = None
    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int | None, ...] | None = None
    row_elements: int = 0
    dtype: torch.dtype | None = None
    batch_dim: int | None = None
    module_path: str = ""
    modules: tuple[tuple[str, int], ...] = ()
    op: str = ""
    source: str = ""
    path: str = ""
    value: torch.Tensor | None = None


@dataclass
class Graph:
    """A captured network.

    Attributes:
        nodes: name -> node, in execution order.
        inputs: names of the input values, in the order of the model's arguments.
        output: name of the output value.
        batch: the size of dimension 0 if the network was exported for one size only, else None.
        modules: dotted path of each module of the model (what a layer argument may name) -> all paths of that module.
        context: names of the inputs that are not explained: no signal goes back to them.
        roots: names of the values that explained integers alone lead to: no signal goes back beyond them.
    """

    nodes: dict[str, Node]
    inputs: tuple[str, ...]
    output: str
    batch: int | None = None
    modules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    context: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()

    @property
    def explained(self) -> tuple[str, ...]:
        """Names of the inputs that are explained, in the order of the model's arguments."""
        return tuple(name for name in self.inputs if name not in self.context)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def leading_to(self, value: str) -> set[str]:
        """Values from which a signal comes to `value`, which is one of them."""
        found, todo = set(), [value]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self.nodes[name].inputs
        return found

    def starting_at(self, *values: str) -> Graph:
        """The part that makes the output of these values, now the explained inputs, behind the inputs still needed."""
        cut = dict(self.nodes)
        for value in values:
            cut[value] = replace(cut[value], kind="input", target=None, args=(), kwargs={}, inputs=(), attrs={})
        needed, todo = set(values), [self.output]
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += references(cut[name])
        others = tuple(name for name in self.inputs if name in needed and name not in values)
        nodes = {name: node for name, node in cut.items() if name in needed}
        return replace(self, nodes=nodes, inputs=(*others, *values), context=frozenset(others))

    def users(self) -> dict[str, list[str]]:
        """Name of each value -> names of the nodes that read it (once per node)."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self:
            for name in dict.fromkeys(references(node)):
                found[name].append(node.name)
        return found


def references(node: Node) -> list[str]:
    """Names of all values that a node reads."""
    if node.kind in ("conv", "linear", "batch_norm"):
        statics = (node.attrs.get(k) for k in ("weight", "bias", "mean", "var"))
        return [*node.inputs, *(n for n in statics if n is not None)]
    if node.kind in ("clamp", "max_pool", "add"):
        return list(node.inputs)
    found: list[str] = []

    def visit(value: Any) -> None:
        if isinstance(value, Ref):
            if value is not BATCH:
                found.append(value.name)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)

    visit(node.args)
    visit(node.kwargs)
    return found


def substitute(value: Any, lookup: Callable[[Ref], Any]) -> Any:
    """`value` with every `Ref` replaced by `lookup(ref)`, containers kept."""
    if isinstance(value, Ref):
        return lookup(value)
    if isinstance(value, (list, tuple)):
        return type(value)(substitute(v, lookup) for v in value)
    if isinstance(value, dict):
        return {k: substitute(v, lookup) for k, v in value.items()}
    return value


def in_dtype(value: Any, dtype: torch.dtype) -> Any:
    """Arguments of a call with every floating-point dtype replaced by the one the engine computes in."""
    if isinstance(value, torch.dtype):
        return dtype if value.is_floating_point else value
    if isinstance(value, (list, tuple)):
        return type(value)(in_dtype(v, dtype) for v in value)
    if isinstance(value, dict):
        return {k: in_dtype(v, dtype) for k, v in value.items()}
    return value
