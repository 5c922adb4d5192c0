"""Images and trained-like weights, drawn from a seed: nothing is downloaded."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def images(batch: int, channels: int, size: int, seed: int = 0) -> Tensor:
    """Random images (batch, channels, size, size), float32, zero mean, unit variance, power falling with frequency.

    A sum of noise at every octave: natural images have such spectra, and white noise alone lets deep maps collapse.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(batch, channels, size, size)
    side = 2
    while side < 2 * size:
        noise = torch.randn(batch, channels, min(side, size), min(side, size), generator=generator)
        x += F.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
        side *= 2
    return (x - x.mean()) / x.std()


@torch.no_grad()
def trained_like_(model: nn.Module, calibration: Tensor, seed: int = 0) -> nn.Module:
    """Draw weights in place and calibrate them on `calibration` (N, ...); returns the model, in eval mode.

    Convolutions and linear layers: He normal, N(0, 2 / fan_in) (He et al. 2015); biases N(0, 0.05^2). Batch norm: the
    statistics of the layer's own input on `calibration`, gain U(0.5, 1.5), shift N(0, 0.2^2). Layers without batch norm
    are scaled by the spread of their own output, the last one so that logits have unit standard deviation.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0.0, math.sqrt(2.0 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.normal_(0.0, 0.05, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0.0, 0.2, generator=generator)
            module.num_batches_tracked.zero_()
    model.eval()
    hooks = [m.register_forward_pre_hook(_take_statistics) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks += [
        m.register_forward_hook(_scale_to_unit_spread)
        for m in model.modules()
        if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is not None
    ]
    try:
        model(calibration)
    finally:
        for hook in hooks:
            hook.remove()
    return model


def _take_statistics(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def _scale_to_unit_spread(layer: nn.Conv2d | nn.Linear, _inputs: tuple[Tensor], output: Tensor) -> Tensor:
    scale = output.std()
    layer.weight /= scale
    layer.bias /= scale
    return output / scale


def move_eps_into_variance_(model: nn.Module) -> nn.Module:
    """The same batch norms with eps 0, up to rounding of the variance; in place."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var += module.eps
            module.eps = 0.0
    return model
