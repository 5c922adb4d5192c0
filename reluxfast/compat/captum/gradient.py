"""Saliency, InputXGradient, GuidedBackprop, Deconvolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.bases import Explains, GradientAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused


class Saliency(Explains, GradientAttribution):
    """Gradient of the explained output, its absolute value by default.

    Args:
        forward_func: a module, or any function of tensors (explained by autograd).
    """

    @exposed
    def attribute(
        self, inputs: Any, target: Any = None, abs: bool = True, additional_forward_args: Any = None
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Values like the inputs, in their dtypes, detached."""
        call = Call.of(inputs, target, additional_forward_args)
        gradients = self._forward.gradients(call)
        return call.packed([g.abs() for g in gradients] if abs else gradients)


class InputXGradient(Explains, GradientAttribution):
    """Input times gradient.

    Args:
        forward_func: a module, or any function of tensors (explained by autograd).
    """

    @property
    def multiplies_by_inputs(self) -> bool:
        return True

    @exposed
    def attribute(
        self, inputs: Any, target: Any = None, additional_forward_args: Any = None
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Values like the inputs, in their dtypes, detached."""
        call = Call.of(inputs, target, additional_forward_args)
        gradients = self._forward.gradients(call)
        return call.packed([x.detach() * g for x, g in zip(call.inputs, gradients, strict=True)])


class ModifiedReluGradientAttribution(Explains, GradientAttribution):
    """A gradient that ReLUs treat by another rule, however they are written (`nn.ReLU`, `F.relu`, `clamp(min=0)`).

    Args:
        model: a module.

    Raises:
        AssertionError: it is none.
    """

    _method = ""

    def __init__(self, model: nn.Module) -> None:
        GradientAttribution.__init__(self, model)
        self.model = model
        if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
            remedy = "Wrap the function in a Module: its ReLUs must be seen"
            raise Refused("model", "must be a torch.nn.Module that is no TorchScript", type(model).__name__, remedy)

    @exposed
    def attribute(
        self, inputs: Any, target: Any = None, additional_forward_args: Any = None
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Values like the inputs, in their dtypes, detached."""
        call = Call.of(inputs, target, additional_forward_args)
        return call.packed(self._forward.attributed(call, self._method).values)

    def attribute_future(self, *args: Any, **kwargs: Any) -> None:
        """Not there, as in Captum.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("attribute_future is not implemented for ModifiedReluGradientAttribution")


class GuidedBackprop(ModifiedReluGradientAttribution):
    """Guided backpropagation: at a ReLU g·1[z > 0]·1[g > 0]."""

    _method = "guided_backprop"


class Deconvolution(ModifiedReluGradientAttribution):
    """Deconvnet: at a ReLU g·1[g > 0]."""

    _method = "deconvnet"
