"""GuidedGradCam."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.bases import Explains, GradientAttribution, LayerAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.gradient import GuidedBackprop
from reluxfast.compat.captum.layer import LayerGradCam


class GuidedGradCam(Explains, GradientAttribution):
    """Guided backpropagation times the upsampled Grad-CAM of a layer, of which only positive evidence counts.

    Args:
        model: a module.
        layer: one of its modules.
        device_ids: accepted; the devices are those of the inputs.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, device_ids: list[int] | None = None) -> None:
        GradientAttribution.__init__(self, model)
        self.grad_cam = LayerGradCam(model, layer, device_ids)
        self.guided_backprop = GuidedBackprop(model)

    @exposed
    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Values like the inputs, detached; for an input with other spatial dimensions than the map an empty Tensor.

        Args:
            interpolate_mode: of `torch.nn.functional.interpolate`.
        """
        call = Call.of(inputs, target, additional_forward_args)
        options = {"attribute_to_layer_input": attribute_to_layer_input, "relu_attributions": True}
        cam = self.grad_cam.attribute(call.inputs, target, additional_forward_args, **options)
        if isinstance(cam, tuple):
            raise Refused("layer", "must have one value", f"{len(cam)} values")
        guided = self.guided_backprop.attribute(call.inputs, target, additional_forward_args)
        values = []
        for x, g in zip(call.inputs, guided, strict=True):
            # As Captum: an input that the map cannot be laid over has no attribution.
            fits = x.dim() == cam.dim() > 2
            up = LayerAttribution.interpolate(cam, tuple(x.shape[2:]), interpolate_mode) if fits else None
            values.append(torch.empty(0, device=x.device) if up is None else g * up.to(g.dtype))
        return call.packed(values)
