"""Grad-CAM and Guided Grad-CAM: the walk stops at the layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from reluxfast.errors import InvalidInput
from reluxfast.methods import cam_maps
from reluxfast.methods.run import Outcome, Run
from reluxfast.relevance.engine import Walked

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(
    run: Run, layer: str | nn.Module, relu: bool = True, upsample: bool = True, normalize: bool = False
) -> Outcome:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): relu(Σ_c w_c A_c), w_c the spatial mean of ∂f/∂A_c.

    Args:
        layer: module, or its path, whose output (N, C, *S') is A; "path#2" is the second call of a reused module.
        relu: keep positive evidence only.
        upsample: (bi)linear interpolation to the spatial size of the input; False leaves (N, 1, *S').
        normalize: divide each map by its maximum, if that is positive.

    Returns:
        values (N, 1, *S), (N, K, 1, *S) for every class; on the model's device, not scaled.
    """
    cam, output = _cam(run, layer, relu)
    count = _spatial_dims(run, cam)
    if upsample:
        cam = resized(cam, _image_size(run, count))
    if normalize:
        peak = cam.amax(tuple(range(cam.dim() - count, cam.dim())), keepdim=True)
        cam = torch.where(peak > 0, cam / peak, cam)
    return Outcome([cam], output, single=True)


def guided_grad_cam(run: Run, layer: str | nn.Module) -> Outcome:
    """Guided backpropagation times the upsampled Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

    Args:
        layer: as for `grad_cam`.

    Returns:
        values shaped like the input.
    """
    cam, _ = _cam(run, layer, relu=True)
    spatial = _spatial_dims(run, cam)
    walked = run.walk("guided_backprop")
    values = []
    for g, x in zip(run.input_signals(walked), run.inputs, strict=True):
        if x.dim() - 2 != spatial:
            raise InvalidInput("x", f"must have {spatial} spatial dimensions, as the layer has", tuple(x.shape))
        values.append(g * resized(cam, x.shape[2:]))
    return Outcome(values, walked.output)


def activations(run: Run, names: list[str]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Output of the network, and A (N, C, *S) at each of these values."""
    walked = run.engine.walk(run.arguments(), None, "gradient", run.native, frozenset(names))
    return walked.output, _values(run, walked, names)


def activations_and_gradients(
    run: Run, names: list[str]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Output of the network, A (N, C, *S), and g = ∂f/∂A, (N, K, C, *S) for every class: one walk that stops there."""
    walked = run.walk("gradient", stops=frozenset(names), progress="grad_cam")
    return walked.output, _values(run, walked, names), walked.signals


def resized(maps: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Maps (..., *S) at another spatial size: (bi-, tri)linear, pixel centres in place, no smoothing."""
    if tuple(maps.shape[-len(size) :]) == tuple(size):
        return maps
    flat = maps.reshape(-1, 1, *maps.shape[-len(size) :])
    up = F.interpolate(flat, size=tuple(size), mode=MODES[len(size)], align_corners=False)
    return up.reshape(*maps.shape[: -len(size)], *size)


def _cam(run: Run, layer: str | nn.Module, relu: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Map (N, 1, *S'), (N, K, 1, *S') for every class, and the output."""
    name = run.layer(layer)
    shape = run.engine.graph.nodes[name].shape or ()
    if len(shape) < 3:
        raise InvalidInput("layer", "must return a map (N, C, *S)", f"{layer!r} with shape {('N', *shape[1:])}")
    output, values, signals = activations_and_gradients(run, [name])
    spatial = len(shape) - 2
    cam = cam_maps.grad(run.over_classes(values[name]), signals[name], spatial).sum(-spatial - 1, keepdim=True)
    return (cam.relu() if relu else cam), output


def _values(run: Run, walked: Walked, names: list[str]) -> dict[str, torch.Tensor]:
    inputs = dict(zip(run.engine.graph.explained, run.inputs, strict=True))
    return {name: walked.layers[name] if name in walked.layers else inputs[name] for name in names}


def _spatial_dims(run: Run, cam: torch.Tensor) -> int:
    return cam.dim() - (2 if run.single else 3)


def _image_size(run: Run, count: int) -> tuple[int, ...]:
    for x in run.inputs:
        if x.dim() - 2 == count:
            return tuple(x.shape[2:])
    raise InvalidInput(
        "upsample",
        f"needs an input with {count} spatial dimensions, as the layer has",
        [tuple(x.shape) for x in run.inputs],
        "Use upsample=False",
    )
