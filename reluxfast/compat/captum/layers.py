"""Values inside the network: which they are for a layer, and what the output says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.forward import Forward
from reluxfast.errors import InvalidInput
from reluxfast.methods.cam import activations
from reluxfast.methods.run import Run
from reluxfast.relevance.layers import layer_inputs, layer_value


@dataclass(frozen=True)
class Layers:
    """The values of one or several layers.

    Attributes:
        groups: names of each layer's values.
        many: whether layers were given as a list, so that results come as one.
    """

    groups: tuple[tuple[str, ...], ...]
    many: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every value once, in order."""
        return tuple(dict.fromkeys(name for group in self.groups for name in group))

    def packed(self, values: dict[str, torch.Tensor]) -> Any:
        """Results as the layers came: of a layer with several values a tuple, of a list of layers a list."""
        listed = [_packed([values[name] for name in group]) for group in self.groups]
        return listed if self.many else listed[0]


def check_layers(forward: Forward, layer: Any) -> None:
    """Refuses layers of a function, and what is no module.

    Raises:
        AssertionError: see above.
    """
    for item in layer if isinstance(layer, list) else [layer]:
        if not isinstance(item, nn.Module):
            raise Refused(
                "layer", "must be a module of the model", type(item).__name__, "Pass the module, not its name"
            )
    if forward.module is None:
        remedy = "Write the function as the forward of a Module that holds the model"
        raise Refused("forward_func", "must be a Module where a layer is named", "a function", remedy)


def layers_of(run: Run, layer: nn.Module | list[nn.Module], of_input: bool) -> Layers:
    """Values that layers return, or take; of a layer called several times those of the last call.

    Raises:
        AssertionError: no such layer, or it returns several values.
    """
    many = isinstance(layer, list)
    graph, find = run.engine.graph, run.path_of
    groups = []
    try:
        for item in layer if many else [layer]:
            if of_input:
                groups.append(layer_inputs(graph, item, find, last=True))
            else:
                groups.append((layer_value(graph, item, find, last=True),))
    except InvalidInput as error:
        raise Refused(error.argument, error.rule, error.value, error.remedy) from None
    return Layers(tuple(groups), many)


def values_and_gradients(
    run: Run, names: Sequence[str], dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Values (N, ...) by name, and the gradient of the explained outputs for each, in a dtype."""
    walked = run.walk("gradient", stops=frozenset(names), progress="gradient")
    found = dict(zip(run.engine.graph.explained, run.inputs, strict=True)) | walked.layers
    return (
        {name: found[name].to(dtype).contiguous() for name in names},
        {name: walked.signals[name].to(dtype).contiguous() for name in names},
    )


def values_at(run: Run, names: Sequence[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Values (N, ...) by name, in a dtype, without a walk back."""
    graph = run.engine.graph
    inputs, before = dict(zip(graph.explained, run.inputs, strict=True)), graph.leading_to(graph.output)
    if len(names) > 1 and before.issuperset(names):
        _, found = activations(run, list(names))  # one pass for all of them
    else:
        # What lies behind a layer need not be run.
        found = {name: inputs[name] if name in inputs else run.at(name).outputs() for name in names}
    return {name: value.to(dtype).contiguous() for name, value in found.items()}


def refuse_history(grad_kwargs: dict[str, Any] | None) -> None:
    """Refuses what would give results a history; other arguments of autograd change nothing.

    Raises:
        InvalidInput: see above.
    """
    if grad_kwargs and grad_kwargs.get("create_graph"):
        remedy = "Results are detached; rx.lrp(create_graph=True) can be differentiated"
        raise InvalidInput("grad_kwargs", "must not ask for create_graph", grad_kwargs, remedy)


def _packed(values: list[torch.Tensor]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)
