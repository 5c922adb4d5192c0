"""Layers of a model, by type or by a condition, in the order in which they are defined.

pytorch-grad-cam's functions that replace layers change the model; they are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn


def find_layer_types_recursive(model: nn.Module, layer_types: Collection[type[nn.Module]]) -> list[nn.Module]:
    """All modules inside `model` of exactly one of these types."""
    return find_layer_predicate_recursive(model, lambda layer: type(layer) in layer_types)


def find_layer_predicate_recursive(model: nn.Module, predicate: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """All modules inside `model` that fulfil a condition, containers in front of what they hold."""
    return [m for m in list(model.modules())[1:] if predicate(m)]
