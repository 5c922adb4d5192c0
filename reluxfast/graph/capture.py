"""nn.Module or exported program -> graph: the one entry of this package."""

from __future__ import annotations

import torch
from torch import nn

from reluxfast.graph.convert import to_graph
from reluxfast.graph.export import export_program
from reluxfast.graph.node import Graph
from reluxfast.graph.twin import eval_twin, unwrap


def capture(
    model: nn.Module | torch.export.ExportedProgram, inputs: tuple[torch.Tensor, ...], explained: int | None = None
) -> Graph:
    """Captures what `model` computes for inputs like these, as if in eval mode.

    Args:
        model: a module (never modified) or an exported program.
        inputs: tensors (N, ...); N may be any number, later calls may use another one.
        explained: number of inputs, from the first on, that are explained; None: all.

    Raises:
        UnsupportedNode: naming operation, module path and source line of what cannot be explained rightly.
    """
    if isinstance(model, torch.export.ExportedProgram):
        return to_graph(model, explained)
    original = unwrap(model)
    graph = to_graph(export_program(eval_twin(original), inputs), explained)
    paths: dict[int, list[str]] = {}  # by identity: modules may compare equal
    for path, module in original.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
    graph.modules = {path: tuple(names) for names in paths.values() for path in names}
    return graph
