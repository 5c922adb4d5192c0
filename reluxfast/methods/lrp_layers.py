"""Which values inside a network the relevance is asked for at."""

from __future__ import annotations

from typing import Any

from torch import nn

from reluxfast.errors import InvalidInput
from reluxfast.graph.fold import foldable
from reluxfast.methods.run import Run
from reluxfast.relevance.layers import layer_inputs


def chosen_layers(run: Run, layers: Any, fold: bool, inputs: bool) -> dict[str, tuple[str, ...]]:
    """Path -> the value that the layer there returns, or the values that it takes.

    Args:
        run: the request.
        layers: modules or their paths, one or several.
        fold: whether batch norms are folded; the value of a map with one folded into it is that of the batch norm.
        inputs: whether the values that layers take are meant.

    Raises:
        InvalidInput: no such layer, or the explained output does not depend on it.
    """
    listed = [layers] if isinstance(layers, str | nn.Module) else layers
    if not isinstance(listed, list | tuple) or not all(isinstance(layer, str | nn.Module) for layer in listed):
        raise InvalidInput("return_layers", "must be True, False, or modules or their paths", repr(layers))
    graph = run.engine.graph
    folds = {source: bn for bn, source in foldable(graph, frozenset(graph.explained)).items()} if fold else {}
    before = graph.leading_to(graph.output)
    found = {}
    for layer in listed:
        path = layer if isinstance(layer, str) else run.path_of(layer)
        if inputs:
            names = layer_inputs(graph, layer, run.path_of, "return_layers")
            if not folds.keys().isdisjoint(names):
                rule = "is a batch norm that is computed as part of the map in front of it"
                raise InvalidInput("return_layers", rule, repr(path), "Pass fold_batch_norm=False")
        else:
            name = run.layer(layer, "return_layers")
            names = (folds.get(name, name),)
        if not before.issuperset(names):
            raise InvalidInput("return_layers", "must lie on the way to what is explained", repr(path))
        found[path] = names
    return found
