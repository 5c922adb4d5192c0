"""Batch norm as the affine map per channel it is in eval mode, folded into the map before it where that is exact."""

from __future__ import annotations

import torch

from reluxfast.graph.node import Graph, Node
from reluxfast.graph.weights import Weights


def foldable(graph: Graph, keep: frozenset[str]) -> dict[str, str]:
    """Batch norms that can be folded: name -> name of the convolution or linear map in front.

    Only where the batch norm is the map's single user and the map's own output is not asked for: folding is per
    call site, so shared weights and reused modules are right.
    """
    users = graph.users()
    found = {}
    for node in graph:
        if node.kind != "batch_norm" or node.attrs["tuple"]:
            continue
        source = graph.nodes[node.inputs[0]]
        single = users[source.name] == [node.name] and source.name not in keep and source.name != graph.output
        if single and (source.kind == "conv" or (source.kind == "linear" and len(source.shape or ()) == 2)):
            found[node.name] = source.name
    return found


def affine(node: Node, weights: Weights) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (C,), float64, of an eval-mode batch norm: k = gamma / sqrt(var + eps), beta - mean * k."""
    mean, var = (weights[node.attrs[k]].double() for k in ("mean", "var"))
    scale = torch.rsqrt(var + node.attrs["eps"])
    if node.attrs["weight"] is not None:
        scale = scale * weights[node.attrs["weight"]].double()
    shift = -mean * scale
    if node.attrs["bias"] is not None:
        shift = shift + weights[node.attrs["bias"]].double()
    return scale, shift


def folded(node: Node, batch_norm: Node | None, weights: Weights) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias of a convolution or linear node with `batch_norm` folded in (in float64, then cast)."""
    weight = weights[node.attrs["weight"]]
    bias = None if node.attrs["bias"] is None else weights[node.attrs["bias"]]
    if batch_norm is None:
        return weight, bias
    scale, shift = affine(batch_norm, weights)
    if node.attrs.get("transposed"):
        # (Cin, Cout / groups, ...): the output channels of group i belong to the i-th block of inputs.
        groups = node.attrs["groups"]
        per_input = scale.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
        wide = weight.double() * per_input.view(*per_input.shape, *[1] * (weight.dim() - 2))
    else:
        wide = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    if bias is not None:
        shift = shift + bias.double() * scale
    return wide.to(weight.dtype), shift.to(weight.dtype)
