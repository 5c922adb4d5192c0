"""Grad-CAM and Guided Grad-CAM from their formulas (methods.md, section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracles.gradient import attribute, select
from tests.oracles.rules import rule_kit
from tests.zoo import Construct


def layer_signal(
    construct: Construct, inputs: tuple[Tensor, ...], layer: str, target, call: int = -1
) -> tuple[Tensor, Tensor]:
    """Activations `A` `(N, C, ...)` of a layer's call and `g = ∂f_t/∂A`, in float64."""
    model = construct.oracle(rule_kit("gradient"))
    seen: list[Tensor] = []

    def keep(_module, _args, result: Tensor) -> Tensor:
        seen.append(result * 1.0)
        return seen[-1] * 1.0  # a copy: what follows may write into it

    handle = model.get_submodule(layer).register_forward_hook(keep)
    leaves = [x.double().clone().requires_grad_() for x in inputs]
    value = select(model(*leaves), target).sum()
    handle.remove()
    (g,) = torch.autograd.grad(value, seen[call])
    return seen[call].detach(), g


def grad_cam(
    construct: Construct,
    inputs: tuple[Tensor, ...],
    layer: str,
    target,
    relu: bool = True,
    upsample: bool = True,
    normalize: bool = False,
    call: int = -1,
) -> Tensor:
    """`Σ_c w_c A_c` with `w_c = mean_hw g_c` (Selvaraju et al. 2017), ReLU, bilinear to the input's size, / max."""
    a, g = layer_signal(construct, inputs, layer, target, call)
    weights = g.flatten(2).mean(2)
    cam = torch.einsum("nc,nc...->n...", weights, a).unsqueeze(1)
    if relu:
        cam = cam.clamp(min=0)
    if upsample:
        cam = F.interpolate(cam, size=inputs[0].shape[2:], mode="bilinear", align_corners=False)
    if normalize:
        top = cam.flatten(1).amax(1).reshape(-1, *(1,) * (cam.dim() - 1))
        cam = torch.where(top > 0, cam / torch.where(top > 0, top, torch.ones_like(top)), cam)
    return cam


def guided_grad_cam(construct: Construct, inputs: tuple[Tensor, ...], layer: str, target) -> Tensor:
    """Guided backpropagation times the upsampled `relu(Grad-CAM)`."""
    guided = attribute(construct, inputs, "guided_backprop", target)[0]
    return guided * grad_cam(construct, inputs, layer, target)
