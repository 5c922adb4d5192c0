"""oneDNN's prepacked calls: weights laid out once instead of at every call."""

from __future__ import annotations

import torch

# The layout may depend on the batch. One fixed number keeps bits independent of which batch came first.
PACKED_FOR_ROWS = 4


def packs(weight: torch.Tensor, native: bool) -> bool:
    """Whether the prepacked calls serve this weight here.

    `torch.backends.mkldnn.enabled` is not asked: torch.export turns it off for the whole process while it traces, so
    the answer would depend on what other threads do.
    """
    return (
        native
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def pack_convolution(
    weight: torch.Tensor, padding: list[int], stride: list[int], dilation: list[int], groups: int, x: torch.Tensor
) -> torch.Tensor:
    """`weight` (Cout, Cin / groups, K, K') laid out for inputs with the channels and spatial size of `x`."""
    shape = [PACKED_FOR_ROWS, *x.shape[1:]]
    return torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, shape)


def convolve(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, padding, stride, dilation, groups: int
) -> torch.Tensor:
    """Convolution of `x` (N, Cin, H, W) with a packed weight."""
    return torch.ops.mkldnn._convolution_pointwise(x, packed, bias, padding, stride, dilation, groups, "none", [], "")
