"""Networks that begin with an affine map: the map as a matrix, and an engine of the rest."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import torch

from reluxfast.coalitions.perceptron import AFFINE, MOST_WEIGHTS, affine_map
from reluxfast.graph import Graph, Node
from reluxfast.graph.node import references
from reluxfast.relevance.engine import Engine
from reluxfast.relevance.lrp.kinds import kind_of

# Elements of a row below which a chain gains nothing from leaving the map out.
_FEWEST_ELEMENTS = 64


@dataclass(frozen=True)
class Split:
    """f(z) = rest(W z + b).

    Attributes:
        weight: (H, d); elements of a row in the order of its shape.
        bias: (H,).
        shape: of a row of what the rest takes; H is its number of elements.
        rest: engine whose input that is.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    shape: tuple[int, ...]
    rest: Engine


def split(engine: Engine, wide: Engine) -> Split | None:
    """An engine's network cut behind its first affine map; None where it has none, or where that does not pay.

    Args:
        engine: of the network.
        wide: of the same network in float64, in which the map is applied to unit vectors.
    """
    graph = engine.graph
    end = _end_of_map(graph)
    if end is None or graph.nodes[graph.inputs[0]].row_elements < _FEWEST_ELEMENTS:
        return None
    sizes = graph.nodes[graph.inputs[0]].row_elements, graph.nodes[end].row_elements
    # A wide map costs more to add to than to make.
    if sizes[0] * sizes[1] > MOST_WEIGHTS or sizes[1] > 4 * sizes[0]:
        return None
    weight, bias = affine_map(wide, graph.inputs[0], end)
    node = graph.nodes[end]
    rest = replace(
        engine, graph=_rest(graph, node), _plans={}, _ending_at={}, _lock=threading.Lock(), memory_budget=None
    )
    return Split(weight.to(engine.dtype), bias.to(engine.dtype), tuple(node.shape[1:]), rest)


def _end_of_map(graph: Graph) -> str | None:
    """The last value that is an affine map of the input and all that the rest of the network reads of it."""
    if len(graph.inputs) != 1 or graph.batch is not None:
        return None
    users = graph.users()
    name, end, mapped = graph.inputs[0], None, False
    while len(users[name]) == 1:
        node = graph.nodes[users[name][0]]
        if kind_of(node) not in AFFINE or node.inputs != (name,) or node.batch_dim != 0 or node.name == graph.output:
            break
        name = node.name
        mapped |= kind_of(node) in ("linear", "convolution")
        end = name if mapped else None
    return end


def _rest(graph: Graph, node: Node) -> Graph:
    """The graph from the value of `node` on."""
    entry = replace(node, kind="input", target=None, args=(), kwargs={}, inputs=(), attrs={})
    nodes, found = {}, {node.name}
    for other in graph:
        if other.kind in ("param", "constant", "static_call"):
            nodes[other.name] = other
        elif other.name == node.name:
            nodes[other.name] = entry
        elif any(name in found for name in references(other)):
            found.add(other.name)
            nodes[other.name] = other
    return replace(graph, nodes=nodes, inputs=(node.name,))
