"""Where outputs of rows come from: a captured model by its fastest path, or a network known by its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from reluxfast import ops
from reluxfast.captured import Captured
from reluxfast.coalitions.first_map import FirstMap
from reluxfast.coalitions.game import Model
from reluxfast.coalitions.mlp import Perceptron, PerceptronModel, PerceptronWays, in_order, serves
from reluxfast.coalitions.models import FunctionModel, RowOrder
from reluxfast.coalitions.prefix import PrefixWays
from reluxfast.coalitions.request import Ways


@dataclass(frozen=True)
class Source:
    """Where outputs come from.

    Attributes:
        model: of rows in the order of computation.
        path: what it is called in a result's options.
        memory_budget: bytes, if the user gave one with the model.
        ways: faster ones than through the model, or None.
    """

    model: Model
    path: str
    memory_budget: int | None = None
    ways: Ways | None = None


def captured_source(known: Captured, order: RowOrder) -> Source:
    """A model by its fastest path: as a perceptron, with its first map apart, or as a whole."""
    engine, native, budget = known.engine(), ops.active_backend() != "reference", known.memory_budget
    (_, dtype, device), *_ = known.examples

    def elements() -> torch.Tensor:
        return order.rows(torch.arange(math.prod(order.shape), device=device).view(1, *order.shape))[0]

    # A model of half type is explained as it is, though computed in float32.
    exact = dtype == known.dtype
    layers = known.perceptron(engine) if exact else None
    if layers is not None and serves(layers):
        layers = in_order(layers, elements())
        inner = tuple(engine.graph.nodes[engine.graph.output].shape[1:])
        return Source(PerceptronModel(layers, inner), "mlp", budget, PerceptronWays(layers))
    model = FunctionModel(lambda batch: engine.outputs([batch.to(engine.dtype)], native), order, False)
    cut = known.split(engine) if exact else None
    if cut is None:
        return Source(model, "engine", budget)

    def rest(values: torch.Tensor) -> torch.Tensor:
        return cut.rest.outputs([values], native)

    first = FirstMap(cut.weight[:, elements()].contiguous(), cut.bias)
    return Source(model, "engine", budget, PrefixWays(first, cut.shape, rest))


def perceptron_source(layers: Perceptron, x: torch.Tensor, order: RowOrder) -> Source:
    """A network known by its weights, computed in the dtype of x if it can be."""
    whole = x.dtype in (torch.float32, torch.float64)
    own = layers.to(x.device, x.dtype if whole else torch.float32)
    if whole and serves(own):
        inner = (own.weights[-1].shape[0],)
        return Source(PerceptronModel(own, inner), "mlp", ways=PerceptronWays(own))
    return Source(FunctionModel(own, order, False), "mlp")
