"""Layers that class activation maps can read."""

from __future__ import annotations

from reluxfast.graph import Graph


def map_layers(graph: Graph) -> list[str]:
    """Paths of the modules, called once, that end in a convolution with a map (N, C, *S), in the order of the walk."""
    found = []
    for node in graph:
        calls = {call for other in graph for path, call in other.modules if path == node.module_path}
        mapped = node.kind == "conv" and node.inputs and node.shape is not None and len(node.shape) >= 3
        if mapped and node.module_path and len(calls) == 1:
            found.append(node.module_path)
    return list(dict.fromkeys(found))
