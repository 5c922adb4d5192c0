"""What every provider is compared with: gradient and guided backpropagation by autograd, in float64, row by row.

It shares no code with the engine or with a peer. Guided backpropagation (Springenberg et al. 2015) replaces the
gradient of every ReLU by `g * 1[x > 0] * 1[g > 0]`; here every call of a torch ReLU function is intercepted, so modules
and functional calls are treated alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

METHODS = ("gradient", "guided_backprop")
_RELUS = {torch.relu, torch.relu_, torch.nn.functional.relu, Tensor.relu, Tensor.relu_}


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (active,) = ctx.saved_tensors
        return torch.where(active & (g > 0), g, torch.zeros_like(g))


class GuidedReLUs(TorchFunctionMode):
    """Inside this context every torch ReLU has the guided gradient; in-place forms become out-of-place ones."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _RELUS:
            return _GuidedReLU.apply(args[0])
        return func(*args, **(kwargs or {}))


def reference(model: nn.Module, x: Tensor, target: Tensor, method: str) -> Tensor:
    """Attribution of logit `target[n]` for each row, float64, shape of x. Rows go one at a time to bound the memory."""
    if method not in METHODS:
        raise ValueError(f"method: one of {', '.join(METHODS)} expected, got {method!r}")
    twin = copy.deepcopy(model).double().eval().requires_grad_(False)
    rows = []
    for row, label in zip(x.double().split(1), target.tolist(), strict=True):
        row = row.detach().requires_grad_(True)
        with GuidedReLUs() if method == "guided_backprop" else nullcontext():
            logit = twin(row)[0, label]
        rows.append(torch.autograd.grad(logit, row)[0])
    return torch.cat(rows) if rows else x.double()


def relative_l2(values: Tensor, expected: Tensor) -> float:
    """||values - expected|| / ||expected|| over all elements, in float64; inf if a number is not finite."""
    difference = torch.linalg.vector_norm(values.double() - expected) / torch.linalg.vector_norm(expected)
    return difference.item() if torch.isfinite(difference) else float("inf")


def cosine(values: Tensor, expected: Tensor) -> float:
    """Cosine of the angle between both, as one vector each, in float64."""
    return torch.nn.functional.cosine_similarity(values.double().flatten(), expected.flatten(), dim=0).item()
