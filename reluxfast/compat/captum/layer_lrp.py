"""LayerLRP: the relevance inside a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.bases import LayerAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Undefined
from reluxfast.compat.captum.layers import check_layers
from reluxfast.compat.captum.lrp import LRP, Values
from reluxfast.compat.captum.targets import select
from reluxfast.errors import InvalidInput


class LayerLRP(LRP, LayerAttribution):
    """The relevance at what layers return or take, under the rules of `LRP`.

    Unlike Captum's: any module of the model will do, also one without a rule or with others inside; and at a value that
    several layers take it is the relevance of the value, whichever of them is asked. Several values stand in the order
    of the layer's arguments.

    Args:
        model: a module.
        layer: one of its modules, or a list of them.

    Raises:
        AttributeError: the model is no module.
        TypeError: a `module.rule` is no propagation rule.
    """

    def __init__(self, model: nn.Module, layer: nn.Module | list[nn.Module]) -> None:
        LRP.__init__(self, model)
        LayerAttribution.__init__(self, model, layer)

    @exposed
    def attribute(
        self,
        inputs: Values,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        verbose: bool = False,
    ) -> Any:
        """Relevance (N, ...) at the layer, a tuple where it takes several values; a list of those for a list of layers.

        Args:
            inputs, target, additional_forward_args, verbose: as for `LRP`.
            return_convergence_delta: whether to return (relevance, f - Σ relevance), the latter (N,) or a list of them.
            attribute_to_layer_input: whether what layers take is meant, not what they return.

        Raises:
            RuntimeError: the output does not depend on a layer, or it is called several times.
            AssertionError: a layer is no module, or as for `LRP`.
            TypeError, IndexError: as for `LRP`.
        """
        call = Call.of(inputs, target, additional_forward_args)
        check_layers(self._forward, self.layer)
        several = isinstance(self.layer, list)
        layers = self.layer if several else [self.layer]
        try:
            found = self._relevance(call, verbose, return_layers=layers, layer_inputs=attribute_to_layer_input)
        except InvalidInput as error:
            if error.argument != "return_layers":
                raise
            raise Undefined("layer", error.rule, error.value, error.remedy) from None
        paths = [self._forward.captured(call)[0].path_of(layer) for layer in layers]
        values = [_as_given(found.layers[path], call.inputs[0].dtype) for path in paths]
        if not return_convergence_delta:
            return values if several else values[0]
        output = select(found.output, target)
        deltas = [self.compute_convergence_delta(value, output) for value in values]
        return (values, deltas) if several else (values[0], deltas[0])


def _as_given(value: torch.Tensor | list[torch.Tensor], dtype: torch.dtype) -> Values:
    """Relevance in the inputs' dtype, apart from what else is returned; several values as a tuple."""
    if isinstance(value, list):
        return tuple(v.to(dtype) for v in value)
    return value.to(dtype)
