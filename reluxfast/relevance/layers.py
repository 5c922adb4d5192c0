"""Layer arguments: a module, or its path, as a value of the graph."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from torch import nn

from reluxfast.errors import InvalidInput
from reluxfast.graph import Graph, Node

PathOf = Callable[[nn.Module], str | None]


def layer_value(
    graph: Graph, layer: str | nn.Module, path_of: PathOf, argument: str = "layer", last: bool = False
) -> str:
    """Name of the value that a layer returns.

    Args:
        graph: the captured graph.
        layer: a module of the model, its dotted path, or "path#2" for the second call of a reused module.
        path_of: module -> path on the explained model.
        argument: what the layer was passed as, for messages.
        last: whether a layer called several times means its last call, where none is named.

    Raises:
        InvalidInput: no such layer, a layer called several times, one that returns no value of its own, or one that
            the output does not depend on.
    """
    path, inside = _call(graph, layer, path_of, argument, last)
    if inside is None:
        return graph.output
    names = {node.name for node in inside}
    users = graph.users()
    ends = [n for n in inside if n.name == graph.output or any(u not in names for u in users[n.name])]
    values = [n for n in ends if n.shape is not None and (n.inputs or n.name in graph.roots)]
    if not values:
        raise InvalidInput(argument, "must return a value the output depends on", repr(path))
    if len(values) > 1:
        raise InvalidInput(
            argument, "must return one value", f"{path!r} with {len(values)}", "Choose one of the layers inside it"
        )
    return values[0].name


def layer_inputs(
    graph: Graph, layer: str | nn.Module, path_of: PathOf, argument: str = "layer", last: bool = False
) -> tuple[str, ...]:
    """Names of the values that a layer takes, in the order in which it reads them.

    Args and errors as for `layer_value`; values that the explained inputs do not reach do not count.
    """
    path, inside = _call(graph, layer, path_of, argument, last)
    if inside is None:
        return graph.explained
    names = {node.name for node in inside}
    found = dict.fromkeys(n for node in inside for n in node.inputs if n not in names)
    if not found:
        raise InvalidInput(argument, "must take a value that depends on the input", repr(path))
    return tuple(found)


def _call(
    graph: Graph, layer: str | nn.Module, path_of: PathOf, argument: str, last: bool
) -> tuple[str, list[Node] | None]:
    """Path of a layer and the nodes of its one call; None for the whole model."""
    path = path_of(layer) if isinstance(layer, nn.Module) else layer
    if path is None:
        raise InvalidInput(argument, "must be a module of the explained model", type(layer).__name__)
    if not isinstance(path, str):
        raise InvalidInput(argument, "must be a module or its dotted path", type(layer).__name__)
    path, _, number = path.partition("#")
    if path not in graph.modules:
        near = difflib.get_close_matches(path, sorted(graph.modules), 3)
        listed = near or sorted(m for m in graph.modules if m)[:10]
        raise InvalidInput(argument, "must be the path of a module", repr(path), f"There are: {', '.join(listed)}")
    names = graph.modules[path]
    calls = list(dict.fromkeys(call for node in graph for call in node.modules if call[0] in names))
    if path == "":
        return path, None
    if not calls:
        raise InvalidInput(argument, "must compute something", repr(path), "Choose the layer before or after it")
    if number:
        if not number.isdigit() or not 1 <= int(number) <= len(calls):
            raise InvalidInput(argument, f"'{path}' is called {len(calls)} time(s)", f"#{number}")
        call = calls[int(number) - 1]
    elif len(calls) > 1 and not last:
        raise InvalidInput(
            argument,
            f"'{path}' is called {len(calls)} times, so one call must be named",
            repr(path),
            f"Use '{path}#1' .. '{path}#{len(calls)}'",
        )
    else:
        call = calls[-1]
    return path, [node for node in graph if call in node.modules]
