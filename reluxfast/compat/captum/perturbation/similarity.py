"""How much a sample counts in a fit, by how near it is to the example."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from reluxfast.errors import InvalidInput


def get_exp_kernel_similarity_function(
    distance_mode: str = "cosine", kernel_width: float = 1.0
) -> Callable[..., float]:
    """exp(-D²/(2σ²)) of the distance D between an example and a perturbed one, all inputs as one vector.

    Args:
        distance_mode: "cosine": 1 - cos; "euclidean".
        kernel_width: σ.

    Raises:
        InvalidInput, a ValueError: another mode.
    """
    if distance_mode not in ("cosine", "euclidean"):
        raise InvalidInput("distance_mode", "must be 'cosine' or 'euclidean'", repr(distance_mode))

    return partial(_similarity, distance_mode, kernel_width)


def _similarity(
    distance_mode: str, kernel_width: float, original_input: Any, perturbed_input: Any, _: Any, **kwargs: Any
) -> float:
    one, other = _vector(original_input), _vector(perturbed_input)
    if distance_mode == "cosine":
        distance = 1 - float(torch.cosine_similarity(one, other, dim=0))
    else:
        distance = float(torch.linalg.vector_norm(one - other))
    return math.exp(-(distance**2) / (2 * kernel_width**2))


def _vector(inputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    listed = inputs if isinstance(inputs, tuple) else (inputs,)
    return torch.cat([x.detach().flatten().float() for x in listed])
