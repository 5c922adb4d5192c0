"""NeuronGradient, NeuronGuidedBackprop, NeuronDeconvolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.bases import Explains, GradientAttribution, NeuronAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import OutOfRange, Refused, Undefined
from reluxfast.compat.captum.layers import check_layers, layers_of
from reluxfast.explainer import laid_out_like
from reluxfast.methods.run import Seed

Selector = int | tuple[int | slice, ...] | Callable[[torch.Tensor], torch.Tensor]


class _Neuron(Explains, NeuronAttribution, GradientAttribution):
    """What the three share: a walk that begins at a layer.

    Args:
        forward_func: a module.
        layer: one of its modules.
        device_ids: accepted; the devices are those of the inputs.
    """

    _rule = ""

    def __init__(self, forward_func: nn.Module, layer: nn.Module, device_ids: list[int] | None = None) -> None:
        NeuronAttribution.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)

    @exposed
    def attribute(
        self,
        inputs: Any,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Values like the inputs, in their dtypes, detached.

        Args:
            neuron_selector: an int (layers with (N, K)); a tuple of indices behind the batch, where slices mean the sum
                over what they hold; or a function of the layer's value (N, ...) that returns (N,), or one number.
            attribute_to_neuron_input: whether the neuron is one of the layer's input.
        """
        call = Call.of(inputs, None, additional_forward_args)
        check_layers(self._forward, self.layer)
        run = self._forward.run(call, _seed(neuron_selector), target=False)
        names = layers_of(run, self.layer, attribute_to_neuron_input).names
        if len(names) != 1:
            raise Refused("layer", "must have one value to choose a neuron of", f"{len(names)} values")
        run = run.at(names[0])
        walked = run.walk(self._rule, progress=self._rule)
        signals = run.input_signals(walked)
        return call.packed([laid_out_like(s, x) for s, x in zip(signals, call.inputs, strict=True)])


class NeuronGradient(_Neuron):
    """Gradient of one neuron for the inputs; arguments as for Captum's class of this name."""

    _rule = "gradient"


class NeuronGuidedBackprop(_Neuron):
    """Guided backpropagation from one neuron.

    Args:
        model: a module.
        layer, device_ids: as for `NeuronGradient`.
    """

    _rule = "guided_backprop"

    def __init__(self, model: nn.Module, layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(model, layer, device_ids)


class NeuronDeconvolution(_Neuron):
    """Deconvnet from one neuron; arguments as for `NeuronGuidedBackprop`."""

    _rule = "deconvnet"

    def __init__(self, model: nn.Module, layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(model, layer, device_ids)


def _seed(selector: Selector) -> Seed:
    """The derivative of what a selector chooses for the layer's value."""

    def seed(value: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            own = value.detach().clone().requires_grad_()
            chosen = selector(own) if callable(selector) else _chosen(own, selector)
            alone = isinstance(chosen, torch.Tensor) and chosen.dim() == 0 and callable(selector)
            if not alone and (
                not isinstance(chosen, torch.Tensor) or chosen.shape[:1] != value.shape[:1] or chosen[0].numel() != 1
            ):
                shown = tuple(chosen.shape) if isinstance(chosen, torch.Tensor) else type(chosen).__name__
                raise Undefined("neuron_selector", f"must choose one number of each row of {tuple(value.shape)}", shown)
            return torch.autograd.grad(chosen.sum(), own)[0]

    return seed


def _chosen(value: torch.Tensor, selector: int | tuple[int | slice, ...]) -> torch.Tensor:
    index = selector if isinstance(selector, tuple) else (selector,)
    if not all(isinstance(i, (int, slice)) for i in index):
        raise Refused("neuron_selector", "must be an int, a tuple of ints and slices, or a function", selector)
    if len(index) > value.dim() - 1:
        raise Refused("neuron_selector", f"must not have more than {value.dim() - 1} indices here", selector)
    try:
        chosen = value[(slice(None), *index)]
    except IndexError:
        raise OutOfRange("neuron_selector", f"must lie inside a layer value {tuple(value.shape)}", selector) from None
    return chosen.reshape(len(chosen), -1).sum(1) if any(isinstance(i, slice) for i in index) else chosen
