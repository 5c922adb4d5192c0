"""One explanation: which method of the engine a composite amounts to, and the signal it begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from reluxfast import rules
from reluxfast.captured import Captured, captured, original
from reluxfast.compat.zennit.attributes import check_attributes
from reluxfast.compat.zennit.errors import WrongShape, WrongType, in_words
from reluxfast.compat.zennit.node_rules import CARRIES, node_rules
from reluxfast.errors import InvalidInput
from reluxfast.explainer import attribute_captured, make_run
from reluxfast.graph import Graph
from reluxfast.methods.inputs import as_tuple
from reluxfast.methods.run import Seed
from reluxfast.relevance.lrp.kinds import kind_of
from reluxfast.relevance.steps import is_relu

if TYPE_CHECKING:
    from reluxfast.compat.zennit.core import Composite

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
AttrOutput = torch.Tensor | Callable[[torch.Tensor], torch.Tensor] | None

_RELU_METHODS = {
    rules.Gradient: "gradient",
    rules.GuidedBackprop: "guided_backprop",
    rules.DeconvNet: "deconvnet",
}


class Signal:
    """`attr_output`, whatever it is, as a function of the output.

    Args:
        attr_output: a Tensor like the output, a function of the output, None: the output; or a `Signal`.
    """

    def __init__(self, attr_output: AttrOutput):
        self.attr_output = attr_output.attr_output if isinstance(attr_output, Signal) else attr_output

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """A Tensor of the output's shape.

        Raises:
            WrongType, WrongShape: what was given is none, or does not make one.
        """
        if self.attr_output is None:
            return output
        made = self.attr_output(output) if callable(self.attr_output) else self.attr_output
        return _checked(made, tuple(output.shape), output.device)


def explain(
    model: nn.Module, composite: Composite | None, x: Inputs, attr_output: AttrOutput, create_graph: bool = False
) -> tuple[torch.Tensor, Any]:
    """Output (N, ...) and relevance, like x.

    Args:
        model: the model.
        composite: which rules its layers get; None: the plain gradient.
        x: (N, ...), or several of them.
        attr_output: what the walk begins with: a Tensor like the output, a function of the output, None: the output.
        create_graph: whether output and relevance keep their history.

    Raises:
        WrongType, WrongShape: `attr_output` has, or returns, what cannot be a signal at the output.
    """
    known = known_for(model, x)
    if composite is not None:
        check_attributes(composite.canonizers, model, x)
    graph = known.engine().graph
    fold = composite is None or composite.folds
    if composite is None:
        assigned = dict.fromkeys((node.name for node in graph if node.inputs), rules.Gradient())
    else:
        assigned = node_rules(composite.module_map, original(model), graph)
    method = None if create_graph else _relu_method(assigned, graph)
    options = {}
    if method is None:
        method = "lrp"
        options = {
            "composite": lambda layer: assigned[layer.name],
            "create_graph": create_graph,
            "fold_batch_norm": fold,
        }
    seed = _seed(known, x, attr_output, create_graph)
    with in_words():
        result = attribute_captured(known, x, None, method, options, seed=seed)
    if not create_graph:
        return result.output.detach(), result.values
    return result.output, _linked(x, result.values)


def _linked(x: Inputs, values: Inputs) -> Inputs:
    """Values with a derivative of 0 for x where they are constant, rather than none."""
    if isinstance(x, tuple):
        return tuple(_linked(i, v) for i, v in zip(x, values, strict=True))
    return torch.where(torch.zeros_like(x, dtype=torch.bool), x, values)


def outputs(model: nn.Module, x: Inputs) -> torch.Tensor:
    """Output (N, ...) for x, detached, in its dtype."""
    return _outputs(known_for(model, x), x)


def known_for(model: nn.Module, x: Inputs) -> Captured:
    """The capture of `model` for inputs like x."""
    if not isinstance(model, nn.Module):
        raise WrongType("model", "must be an nn.Module", type(model).__name__, "Wrap a function in a Module")
    with in_words():
        return captured(model, as_tuple(x, "input"))


def _outputs(known: Captured, x: Inputs) -> torch.Tensor:
    given = as_tuple(x)
    with torch.inference_mode(False):
        inputs = [(i.clone() if i.is_inference() else i.detach()).to(known.dtype) for i in given]
    return make_run(known, inputs, None).outputs().to(given[0].dtype)


def _relu_method(assigned: dict[str, rules.Rule | None], graph: Graph) -> str | None:
    """The gradient-type method that rules amount to: one at every ReLU, the derivative for all else."""
    found = set()
    for name, rule in assigned.items():
        node = graph.nodes[name]
        if is_relu(node):
            found.add(type(rule))
        elif node.kind == "clamp" and node.attrs["lo"] == 0:
            return None  # ReLU6: a ReLU to those methods, but not to a layer map
        elif not (isinstance(rule, rules.Gradient) or (rule is None and kind_of(node) in CARRIES)):
            return None
    if not found:
        return "gradient"
    return _RELU_METHODS.get(found.pop()) if len(found) == 1 else None


def _seed(known: Captured, x: Inputs, attr_output: AttrOutput, create_graph: bool) -> Seed:
    """`attr_output` as the engine wants it, which may ask for some rows of a batch at a time."""
    attr_output = Signal(attr_output).attr_output
    if attr_output is None:
        return lambda output, numbers: output
    rows, dtype = as_tuple(x)[0].shape[0], as_tuple(x)[0].dtype
    if not callable(attr_output):
        graph = known.engine().graph
        shape = (rows, *graph.nodes[graph.output].shape[1:])
        signal = _checked(attr_output, shape, known.examples[0][2])
        return lambda output, numbers: signal[numbers]
    made: list[torch.Tensor] = []

    def seed(output: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        whole = len(numbers) == rows
        if create_graph and not whole:
            rule = "as a function needs the output of all rows in one piece where create_graph is True"
            raise InvalidInput("attr_output", rule, f"{len(numbers)} of {rows} rows", "Pass fewer rows at a time")
        if not made:
            # A function of the output is one of all its rows.
            output = output.to(dtype) if whole else _outputs(known, x)
            made.append(Signal(attr_output)(output))
        return made[0] if whole else made[0][numbers]

    return seed


def _checked(signal: Any, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    if not isinstance(signal, torch.Tensor):
        rule = "must be a Tensor of the output's shape, or a function that makes one from the output"
        raise WrongType("attr_output", rule, type(signal).__name__)
    if tuple(signal.shape) != shape:
        raise WrongShape("attr_output", f"must have the shape of the output, {shape}", tuple(signal.shape))
    if signal.device != device:
        raise WrongShape("attr_output", f"must be on {device}, where the output is", signal.device)
    return signal
