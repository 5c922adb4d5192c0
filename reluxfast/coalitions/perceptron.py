"""Networks that are affine maps with ReLUs between them, as the weights of a multilayer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from reluxfast.graph import Graph, Node
from reluxfast.relevance.engine import Engine
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.lrp.kinds import kind_of
from reluxfast.relevance.steps import is_relu

# Weights of all layers together beyond which a map is better left in the form it has (convolutions).
MOST_WEIGHTS = 1 << 24
# Layers up to which chains are walked by `ops.mlp_chains`.
MOST_LAYERS = 6
AFFINE = frozenset(("linear", "convolution", "batch_norm", "sum", "carry", "scale", "shift"))


@dataclass(frozen=True)
class Perceptron:
    """f(z) = W_L relu(... relu(W_1 z + b_1) ...) + b_L.

    Attributes:
        weights: (H_l, H_{l-1}) each; H_0 elements of a row in the order of its shape.
        biases: (H_l,) each.
    """

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    def to(self, device: torch.device, dtype: torch.dtype) -> Perceptron:
        """The network on another device and in another dtype."""
        moved = (tuple(t.to(device, dtype) for t in listed) for listed in (self.weights, self.biases))
        return Perceptron(*moved)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (T, H_L) of rows (T, H_0)."""
        z = rows.to(self.weights[0].dtype)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = torch.nn.functional.linear(z.relu() if layer else z, weight, bias)
        return z


def perceptron(wide: Engine, dtype: torch.dtype) -> Perceptron | None:
    """The network of an engine as a perceptron, or None if it is none.

    Args:
        wide: engine of the network in float64; maps between ReLUs (normalisation, batch norm, several linear layers)
            are joined in it by applying them to unit vectors.
        dtype: of the weights returned.
    """
    ends = _segments(wide.graph)
    if ends is None or len(ends) > MOST_LAYERS:
        return None
    weights, biases, start = [], [], wide.graph.inputs[0]
    for end, behind in ends:
        sizes = wide.graph.nodes[start].row_elements, wide.graph.nodes[end].row_elements
        if math.prod(sizes) > MOST_WEIGHTS:
            return None
        weight, bias = affine_map(wide, start, end)
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
        elif kind_of(node) in AFFINE and node.batch_dim == 0:
            last = node.name
        else:
            return None
    return None if last is None else [*found, (last, last)]


def affine_map(engine: Engine, start: str, end: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (H', H) and bias (H',) of the map from one value to another behind it, in the engine's dtype."""
    node = engine.graph.nodes[start]
    size = node.row_elements
    unit = torch.zeros(size + 1, size, dtype=engine.dtype, device=engine.device)
    unit[1:].fill_diagonal_(1)
    names = _between(engine.graph, start, end)
    with torch.no_grad():
        frame = Frame(size + 1, values={start: unit.view(size + 1, *node.shape[1:])})
        # Named as a stop, the value is made even where it could be folded into the next.
        for step in engine.plan(False, frozenset((end,))).steps:
            if step.name in names:
                frame.values[step.name] = step.forward(frame)
        out = frame.values[end].reshape(size + 1, -1)
    return (out[1:] - out[0]).t(), out[0]


def _between(graph: Graph, start: str, end: str) -> set[str]:
    found, name = set(), end
    while name != start:
        found.add(name)
        name = graph.nodes[name].inputs[0]
    return found


def in_order(layers: Perceptron, elements: torch.Tensor) -> Perceptron:
    """The network for rows whose element k is element elements[k] of the row's shape."""
    if bool((elements[1:] > elements[:-1]).all()):
        return layers
    return Perceptron((layers.weights[0][:, elements].contiguous(), *layers.weights[1:]), layers.biases)
