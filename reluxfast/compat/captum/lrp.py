"""LRP: layer-wise relevance propagation with the rules that modules have."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reluxfast.attribution import Attribution
from reluxfast.compat.captum.bases import Explains, GradientAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import NoModule, NoRule, NotCaptured
from reluxfast.compat.captum.lrp_nodes import check_rules, node_rules
from reluxfast.compat.captum.targets import select
from reluxfast.errors import UnsupportedNode
from reluxfast.graph import Graph
from reluxfast.relevance.lrp.kinds import kind_of
from reluxfast.relevance.lrp.signals import row_sums
from reluxfast.rules import Pass, Rule

_REMEDY = "Set another module.rule there, or call rx.lrp, which takes fallback= and products="
Values = torch.Tensor | tuple[torch.Tensor, ...]


class LRP(Explains, GradientAttribution):
    """Layer-wise relevance propagation under the rules set as `module.rule` (see `lrp_rules`), the epsilon rule else.

    Unlike Captum's: rules stay on their modules and are read at every call; functional ReLUs, pools and means, residual
    additions and reused modules are explained as their layers would be, and layers that Captum has no default for by
    the engine's; batch norms are layers of their own, as there; the model is explained as if in eval mode and is only
    read, and results are detached.

    Args:
        model: a module.

    Raises:
        AttributeError: it is none.
        TypeError: a `module.rule` is no propagation rule.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            remedy = "Wrap the function in a Module: its layers must be seen"
            raise NoModule("model", "must be a torch.nn.Module", type(model).__name__, remedy)
        GradientAttribution.__init__(self, model)
        self.model = model
        check_rules(model)

    @property
    def multiplies_by_inputs(self) -> bool:
        return True

    def has_convergence_delta(self) -> bool:
        return True

    @exposed
    def attribute(
        self,
        inputs: Values,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        verbose: bool = False,
    ) -> Values | tuple[Values, torch.Tensor]:
        """Relevance like the inputs, in their dtypes, detached; it begins with the explained output itself.

        Args:
            inputs: Tensor (N, ...) or a tuple of them.
            target: None, int, tuple, integer Tensor, list of N ints or of N tuples.
            additional_forward_args: further arguments of the model, not explained.
            return_convergence_delta: whether to return (relevance, f - Σ relevance), the latter (N,).
            verbose: whether to print which layer follows which rule.

        Raises:
            TypeError: a node has no rule, or cannot follow the one it is given.
            AssertionError, IndexError: inputs or target do not fit.
        """
        call = Call.of(inputs, target, additional_forward_args)
        found = self._relevance(call, verbose)
        values = call.packed(found.values)
        if not return_convergence_delta:
            return values
        return values, self.compute_convergence_delta(values, select(found.output, target))

    def compute_convergence_delta(self, attributions: Values, output: torch.Tensor) -> torch.Tensor:
        """output - Σ attributions of each row, (N,).

        Args:
            attributions: Tensor (N, ...) or a tuple of them.
            output: the explained output of each row, (N,) or (N, 1).
        """
        parts = attributions if isinstance(attributions, tuple) else (attributions,)
        total = sum(map(row_sums, parts))
        return (output.flatten().double() - total).to(output.dtype)

    def attribute_future(self, *args: Any, **kwargs: Any) -> None:
        """Not there, as in Captum.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("attribute_future is not implemented for LRP")

    def _relevance(self, call: Call, verbose: bool, **options: Any) -> Attribution:
        try:
            known, _ = self._forward.captured(call)
            model, graph = known.model, known.engine().graph
            assigned = node_rules(model, graph)
            if verbose:
                _show(model, graph, assigned)
            options |= {"composite": lambda layer: assigned[layer.name], "fold_batch_norm": False}
            return self._forward.attributed(call, "lrp", options)
        except NotCaptured:
            raise
        except UnsupportedNode as error:
            remedy = error.remedy if error.method != "lrp" or isinstance(error, NoRule) else _REMEDY
            raise NoRule(error.op, error.reason, error.module_path, error.source, error.method, remedy) from None


def _show(model: nn.Module, graph: Graph, assigned: dict[str, Rule | None]) -> None:
    """Prints which rule stands at which layer, in execution order; where relevance is handed on there is none."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, rule in assigned.items():
        node = graph.nodes[name]
        if rule is not None and not (isinstance(rule, Pass) and kind_of(node) in ("activation", "shift")):
            layer = modules[node.module_path]
            shown = layer if next(layer.children(), None) is None else f"{node.op} in {type(layer).__name__}"
            print(f"Applied {rule} on layer {shown}")
