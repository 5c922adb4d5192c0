"""Tokens of transformers as maps, for `reshape_transform`."""

from __future__ import annotations

from torch import Tensor

from reluxfast.compat.grad_cam.errors import WrongShape


def vit_reshape_transform(tensor: Tensor, height: int = 14, width: int = 14) -> Tensor:
    """Tokens (N, 1 + height * width, C), the first of which is no patch, as maps (N, C, height, width)."""
    return _as_map(tensor[:, 1:], height, width)


def swinT_reshape_transform(tensor: Tensor, height: int = 7, width: int = 7) -> Tensor:
    """Tokens (N, height * width, C) as maps (N, C, height, width)."""
    return _as_map(tensor, height, width)


def _as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    if tokens.dim() != 3 or tokens.shape[1] != height * width:
        rule = f"must be the sides of the {tokens.shape[1]} patches of tokens {('N', *tokens.shape[1:])}"
        raise WrongShape("height, width", rule, (height, width), "Pass them with functools.partial")
    return tokens.transpose(1, 2).unflatten(2, (height, width))
