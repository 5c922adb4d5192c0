"""LayerGradCam, LayerGradientXActivation, LayerActivation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.bases import Explains, GradientAttribution, LayerAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.layers import check_layers, layers_of, refuse_history, values_and_gradients, values_at


class LayerGradCam(Explains, LayerAttribution, GradientAttribution):
    """Grad-CAM at a layer: Σ_c w_c A_c, w_c the mean gradient over the map; no ReLU and no upsampling by default.

    Args:
        forward_func: a module.
        layer: one of its modules.
        device_ids: accepted; the devices are those of the inputs.
    """

    def __init__(self, forward_func: nn.Module, layer: nn.Module, device_ids: list[int] | None = None) -> None:
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)

    @exposed
    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Maps (N, 1, *S), or (N, C, *S) without `attr_dim_summation`, detached.

        `grad_kwargs` are autograd's: they change nothing, but that `create_graph` is refused.
        """
        call = Call.of(inputs, target, additional_forward_args)
        check_layers(self._forward, self.layer)
        refuse_history(grad_kwargs)
        run = self._forward.run(call, integers=True)
        layers = layers_of(run, self.layer, attribute_to_layer_input)
        values, gradients = values_and_gradients(run, layers.names, run.engine.dtype)
        maps = {}
        for name in layers.names:
            g = gradients[name]
            spatial = tuple(range(2, g.dim()))
            cam = (g.mean(spatial, keepdim=True) if spatial else g) * values[name]
            cam = cam.sum(1, keepdim=True) if attr_dim_summation else cam
            maps[name] = (cam.relu() if relu_attributions else cam).to(call.dtype or run.engine.dtype)
        return layers.packed(maps)


class LayerGradientXActivation(Explains, LayerAttribution, GradientAttribution):
    """Gradient at a layer times its value.

    Args:
        forward_func: a module.
        layer: one of its modules, or a list of them.
        device_ids: accepted; the devices are those of the inputs.
        multiply_by_inputs: False: the gradient alone.
        memory_efficient: accepted; nothing is kept anyway.
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layer: nn.Module | list[nn.Module],
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
        memory_efficient: bool = False,
    ) -> None:
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)
        self._multiply_by_inputs = multiply_by_inputs

    @property
    def multiplies_by_inputs(self) -> bool:
        return self._multiply_by_inputs

    @exposed
    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Values like the layer's, detached; a list for a list of layers. `grad_kwargs` as for `LayerGradCam`."""
        call = Call.of(inputs, target, additional_forward_args)
        check_layers(self._forward, self.layer)
        refuse_history(grad_kwargs)
        run = self._forward.run(call, integers=True)
        layers = layers_of(run, self.layer, attribute_to_layer_input)
        values, gradients = values_and_gradients(run, layers.names, call.dtype or run.engine.dtype)
        if self._multiply_by_inputs:
            gradients = {name: g * values[name] for name, g in gradients.items()}
        return layers.packed(gradients)


class LayerActivation(Explains, LayerAttribution):
    """The value of a layer.

    Args:
        forward_func: a module.
        layer: one of its modules, or a list of them.
        device_ids: accepted; the devices are those of the inputs.
    """

    @property
    def multiplies_by_inputs(self) -> bool:
        return True

    @exposed
    def attribute(
        self, inputs: Any, additional_forward_args: Any = None, attribute_to_layer_input: bool = False
    ) -> Any:
        """Values (N, ...), detached; a list for a list of layers."""
        call = Call.of(inputs, None, additional_forward_args)
        check_layers(self._forward, self.layer)
        run = self._forward.run(call, target=False, integers=True)
        layers = layers_of(run, self.layer, attribute_to_layer_input)
        return layers.packed(values_at(run, layers.names, call.dtype or run.engine.dtype))
