"""Classes that users derive from ours: which methods of theirs are called, and what these return."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from reluxfast.compat.grad_cam.errors import NotHere
from reluxfast.errors import InvalidInput

_PACKAGE = __name__.rpartition(".")[0] + "."
_NEVER_CALLED = (
    "compute_cam_per_layer",
    "aggregate_multi_layers",
    "forward_augmentation_smoothing",
    "get_target_width_height",
)


def overrides(cam: Any, name: str) -> bool:
    """Whether a method is not this package's, but the user's: of the object, or of its class."""
    owner = next((kind for kind in type(cam).__mro__ if name in vars(kind)), None)
    return name in vars(cam) or (owner is not None and not owner.__module__.startswith(_PACKAGE))


def check_overrides(cam: Any, has_weights: bool) -> None:
    """Raises `NotHere` for methods that would never be called.

    Args:
        cam: an object of a class that may be the user's.
        has_weights: whether its map is a sum of weighted channels.
    """
    remedy = "override get_cam_weights, get_cam_image or forward instead"
    for name in _NEVER_CALLED:
        if overrides(cam, name):
            raise NotHere(f"{type(cam).__name__} overrides {name}, which is never called here; {remedy}")
    if overrides(cam, "get_cam_weights") and not (has_weights or overrides(cam, "get_cam_image")):
        remedy = "override get_cam_image instead, or derive from BaseCAM"
        why = "which is never called: the map of its base class has no weights per channel"
        raise NotHere(f"{type(cam).__name__} overrides get_cam_weights, {why}; {remedy}")


def as_array(value: Tensor | None) -> np.ndarray | None:
    """A copy as NumPy array."""
    return None if value is None else value.detach().cpu().clone().numpy()


def weighted(weights: Any, activations: Any) -> Tensor:
    """Weights (N, C), as `get_cam_weights` returns them, times activations (N, C, *S)."""
    activation = torch.as_tensor(activations)
    found = _tensor(weights)
    rows, channels = activation.shape[:2]
    if found is None or found.dim() != 2 or found.shape[0] not in (1, rows) or found.shape[1] not in (1, channels):
        rule = f"must return one number per image and channel, {(rows, channels)}"
        raise InvalidInput("get_cam_weights", rule, _described(weights, found))
    return found.view(*found.shape, *[1] * (activation.dim() - 2)) * activation


def as_map(image: Any, activation: Tensor) -> Tensor:
    """What `get_cam_image` returned, one map (N, *S) for activations (N, C, *S), on their device."""
    found = _tensor(image)
    if found is None or found.dim() != activation.dim() - 1 or len(found) != len(activation):
        rule = f"must return one map per image, such as {(len(activation), *activation.shape[2:])}"
        raise InvalidInput("get_cam_image", rule, _described(image, found))
    return found.to(activation.device)


def _tensor(value: Any) -> Tensor | None:
    numbers = isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiu")
    return torch.as_tensor(value).detach() if numbers else None


def _described(value: Any, found: Tensor | None) -> str:
    return type(value).__name__ if found is None else f"shape {tuple(found.shape)}"
