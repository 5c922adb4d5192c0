"""Networks that are affine maps with ReLUs between them, or begin with one, in forms that coalitions gain from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from reluxfast.coalitions.mlp import Perceptron
from reluxfast.graph import Graph, Node
from reluxfast.ops.mlp_layers import MOST_WEIGHTS
from reluxfast.relevance.engine import Engine
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.lrp.kinds import kind_of
from reluxfast.relevance.steps import is_relu

# Weights of a map beyond which it is better left in the form it has (convolutions).
_MOST_MAPPED = 1 << 24
# Elements of unit vectors that are mapped at once.
_ELEMENTS = 1 << 22
# Elements of a row below which a chain gains nothing from leaving the map out.
_FEWEST_ELEMENTS = 64
_AFFINE = frozenset(("linear", "convolution", "batch_norm", "sum", "carry", "scale", "shift"))


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


def split(engine: Engine, widened: Callable[[], Engine]) -> Split | None:
    """An engine's network cut behind its first affine map; None where it has none, or where that does not pay.

    Args:
        engine: of the network.
        widened: makes its engine in float64, in which the map is applied to unit vectors.
    """
    graph = engine.graph
    end = _end_of_map(graph)
    if end is None or graph.nodes[graph.inputs[0]].row_elements < _FEWEST_ELEMENTS:
        return None
    sizes = graph.nodes[graph.inputs[0]].row_elements, graph.nodes[end].row_elements
    # A wide map costs more to add to than to make.
    if sizes[0] * sizes[1] > _MOST_MAPPED or sizes[1] > 4 * sizes[0]:
        return None
    weight, bias = _affine_map(widened(), graph.inputs[0], end)
    node = graph.nodes[end]
    rest = replace(engine.starting_at(end), memory_budget=None)
    return Split(weight.to(engine.dtype), bias.to(engine.dtype), tuple(node.shape[1:]), rest)


def _end_of_map(graph: Graph) -> str | None:
    """The last value that is an affine map of the input and all that the rest of the network reads of it."""
    if len(graph.inputs) != 1 or graph.batch is not None:
        return None
    users = graph.users()
    name, end, mapped = graph.inputs[0], None, False
    while len(users[name]) == 1:
        node = graph.nodes[users[name][0]]
        if kind_of(node) not in _AFFINE or node.inputs != (name,) or node.batch_dim != 0 or node.name == graph.output:
            break
        name = node.name
        mapped |= kind_of(node) in ("linear", "convolution")
        end = name if mapped else None
    return end


def perceptron(engine: Engine, widened: Callable[[], Engine]) -> Perceptron | None:
    """The network of an engine as a perceptron in the engine's dtype, or None if it is none.

    Args:
        engine: of the network.
        widened: makes its engine in float64; maps between ReLUs (normalisation, batch norm, several linear layers) are
            joined in it by applying them to unit vectors.
    """
    ends = _segments(engine.graph)
    if ends is None or len(ends) > MOST_WEIGHTS:
        return None
    wide, dtype = widened(), engine.dtype
    weights, biases, start = [], [], wide.graph.inputs[0]
    for end, behind in ends:
        sizes = wide.graph.nodes[start].row_elements, wide.graph.nodes[end].row_elements
        if math.prod(sizes) > _MOST_MAPPED:
            return None
        weight, bias = _affine_map(wide, start, end)
        weights.append(weight.to(dtype).contiguous())
        biases.append(bias.to(dtype).contiguous())
        start = behind
    return Perceptron(tuple(weights), tuple(biases))


def _segments(graph: Graph) -> list[tuple[str, str]] | None:
    """(Last value of an affine stretch, ReLU behind it) from the input on; None where the graph is no such chain."""
    if len(graph.inputs) != 1 or graph.batch is not None:
        return None
    users = graph.users()
    chain: list[Node] = []
    name = graph.output
    while name != graph.inputs[0]:
        node = graph.nodes[name]
        if len(node.inputs) != 1 or (node.name != graph.output and len(users[name]) != 1):
            return None
        chain.append(node)
        name = node.inputs[0]
    if len(users[name]) != 1:
        return None
    found, last = [], None
    for node in reversed(chain):
        if is_relu(node):
            if last is None:
                return None  # a ReLU of the input itself, or of another ReLU
            found.append((last, node.name))
            last = None
        elif kind_of(node) in _AFFINE and node.batch_dim == 0:
            last = node.name
        else:
            return None
    return None if last is None else [*found, (last, last)]


def _affine_map(engine: Engine, start: str, end: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (H', H) and bias (H',) of the map from one value to another behind it, in the engine's dtype."""
    node = engine.graph.nodes[start]
    size = node.row_elements
    names = _between(engine.graph, start, end)
    # Named as a stop, the value is made even where it could be folded into the next.
    steps = [step for step in engine.plan(False, frozenset((end,))).steps if step.name in names]

    def mapped(rows: torch.Tensor) -> torch.Tensor:
        frame = Frame(len(rows), values={start: rows.view(len(rows), *node.shape[1:])})
        for step in steps:
            frame.values[step.name] = step.forward(frame)
        return frame.values[end].reshape(len(rows), -1)

    parts, height = [], max(1, _ELEMENTS // size)
    with torch.no_grad():
        for first in range(0, size, height):
            # Behind a row of zeros: what an element does not change has the bits of that row, in the same product.
            units = torch.zeros(min(height, size - first) + 1, size, dtype=engine.dtype, device=engine.device)
            units[1:].diagonal(first).fill_(1)
            out = mapped(units)
            parts.append((out[1:] - out[0]).t())
    return torch.cat(parts, 1), out[0]


def _between(graph: Graph, start: str, end: str) -> set[str]:
    found, name = set(), end
    while name != start:
        found.add(name)
        name = graph.nodes[name].inputs[0]
    return found
