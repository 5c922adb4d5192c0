"""mlp_outer_sums: a multilayer perceptron behind its first layer, at all sums of two tables of pre-activations.

y[m, p, q] = W_L relu(... W_1 relu(high[m, p] + low[m, q]) + b_1 ...) + b_L

Coalitions of n players are such sums where the first layer is affine in the input: a coalition is one of the first
players' subsets beside one of the others', and its pre-activations are those of the two, added.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import register
from reluxfast.ops.mlp_layers import MOST_WEIGHTS, check_layers, check_number, network, triton_layers_limit


def _check(high: Tensor, low: Tensor, weights: list[Tensor], biases: list[Tensor]) -> None:
    torch._check(
        high.dtype in (torch.float32, torch.float64),
        lambda: f"high must be float32 or float64, got {high.dtype}; convert it with .float()",
    )
    torch._check(
        high.dim() == 3 and high.shape[2] > 0,
        lambda: f"high must have shape (M, P, H), H at least 1, got {tuple(high.shape)}",
    )
    check_number("low", low, "high", high)
    torch._check(
        low.dim() == 3 and low.shape[0] == high.shape[0] and low.shape[2] == high.shape[2],
        lambda: (
            f"low must have shape (M, Q, H), M and H those of high, {high.shape[0]} and {high.shape[2]}, "
            f"got {tuple(low.shape)}"
        ),
    )
    check_layers(weights, biases, MOST_WEIGHTS - 1, "high", high)


def mlp_outer_sums_reference(high: Tensor, low: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """y by definition, the sums of one m at a time."""
    _check(high, low, weights, biases)
    y = _empty(high, low, weights)
    for m in range(high.shape[0]):
        y[m] = network((high[m, :, None] + low[m]).relu(), weights, biases)
    return y


def _empty(high: Tensor, low: Tensor, weights: list[Tensor]) -> Tensor:
    return high.new_empty(high.shape[0], high.shape[1], low.shape[1], weights[-1].shape[0])


def _fake(high: Tensor, low: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    _check(high, low, weights, biases)
    return _empty(high, low, weights)


def triton_limit(high: Tensor, low: Tensor, weights: list[Tensor], biases: list[Tensor]) -> str | None:
    """Why the Triton kernel does not take a call, None if it does or if the call is wrong anyway."""
    return triton_layers_limit("mlp_outer_sums", weights, high)


register(
    "mlp_outer_sums",
    "(Tensor high, Tensor low, Tensor[] weights, Tensor[] biases) -> Tensor",
    mlp_outer_sums_reference,
    _fake,
    triton_limit=triton_limit,
)
