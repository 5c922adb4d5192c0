"""What ops over layers of a perceptron share: checks, the layers by definition, the limits of Triton's kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

MOST_WEIGHTS = 6
# Of layers behind the first: what a program of the Triton kernels has registers for.
_MOST_TRITON_WIDTH = 256


def check_number(name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """Refuse a tensor whose dtype or device differs from another's."""
    torch._check(
        value.dtype == like.dtype, lambda: f"{name} must have the dtype of {like_name}, {like.dtype}, got {value.dtype}"
    )
    torch._check(
        value.device == like.device,
        lambda: f"{name} must be on the device of {like_name}, {like.device}, got {value.device}",
    )


def check_layers(weights: list[Tensor], biases: list[Tensor], most: int, like_name: str, like: Tensor) -> None:
    """Refuse layers that do not fit each other, or rows as wide as another tensor's."""
    torch._check(1 <= len(weights) <= most, lambda: f"weights must hold 1 to {most} tensors, got {len(weights)}")
    torch._check(
        len(biases) == len(weights),
        lambda: f"biases must hold a tensor for each of the {len(weights)} weights, got {len(biases)}",
    )
    width = like.shape[-1]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        _check_layer(layer, weight, bias, width, like_name, like)
        width = weight.shape[0]


def _check_layer(layer: int, weight: Tensor, bias: Tensor, width: int, like_name: str, like: Tensor) -> None:
    check_number(f"weights[{layer}]", weight, like_name, like)
    torch._check(
        weight.dim() == 2 and weight.shape[0] > 0 and weight.shape[1] == width,
        lambda: f"weights[{layer}] must have shape (H, {width}), H at least 1, got {tuple(weight.shape)}",
    )
    check_number(f"biases[{layer}]", bias, like_name, like)
    torch._check(
        bias.dim() == 1 and bias.shape[0] == weight.shape[0],
        lambda: f"biases[{layer}] must have shape ({weight.shape[0]},), got {tuple(bias.shape)}",
    )


def network(z: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Layers with a ReLU between each two, by definition."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = linear(z, weight, bias).relu()
    return linear(z, weights[-1], biases[-1])


def triton_layers_limit(op: str, behind: list[Tensor], x: Tensor) -> str | None:
    """Why a Triton kernel does not take x and the layers behind the first, None if it does or if they are wrong."""
    if x.dtype == torch.float64:
        return f"its kernel for {op} computes in float32, got torch.float64"
    widest = max((weight.shape[0] for weight in behind if weight.dim() == 2), default=0)
    if widest > _MOST_TRITON_WIDTH:
        return (
            f"its kernel for {op} takes up to {_MOST_TRITON_WIDTH} units in each layer behind the first, got {widest}"
        )
    return None
