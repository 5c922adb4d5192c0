"""Convolutions and linear maps with fixed weights, and their transposes, by the fastest library call for each.

The arithmetic belongs to oneDNN, cuDNN and BLAS; what is chosen here is the form it is asked for: channels-last
layouts, weights laid out once instead of at every call, and input-gradients written as forward convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from reluxfast.relevance.few_channels import MOST_CHANNELS, BlockedGradient
from reluxfast.relevance.packing import PACKED_FOR_ROWS, convolve, pack_convolution, packs

_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
# Below this many weights a linear layer is bound by call overhead, not by reading its weights.
_PACK_LINEAR_FROM = 1 << 16


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """`x` (N, C, *S) in channels-last memory where torch has such a layout (2 and 3 spatial dimensions), else as it
    stands in its shape."""
    if x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if x.dim() == 5:
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x.contiguous()


class ConvMap:
    """y = conv(x) + b and g -> convᵀ(g), 1 to 3 spatial dimensions, plain or transposed.

    Args:
        weight: (Cout, Cin / groups, *K), or (Cin, Cout / groups, *K) if `transposed`.
        bias: (Cout,) or None.
        padding: zeros on both sides of each spatial dimension.
        native: use prepacked library calls where there are any; otherwise plain ATen.
        after: further zeros behind each spatial dimension.
    """

    def __init__(
        self, weight, bias, stride, padding, dilation, transposed, output_padding, groups, native=True, after=()
    ):
        self.spatial = weight.dim() - 2
        self.weight, self.bias = channels_last(weight), bias
        self.stride, self.padding, self.dilation = list(stride), list(padding), list(dilation)
        self.output_padding, self.transposed, self.groups = list(output_padding), transposed, groups
        self.after = list(after)
        self._packed = packs(weight, native) and self.spatial == 2 and not transposed
        self._forward_weight = self._backward_weight = None
        # The input-gradient of a stride-1 convolution is a convolution with flipped, transposed weights.
        self._flipped_padding = [
            d * (k - 1) - p for d, k, p in zip(self.dilation, weight.shape[2:], self.padding, strict=True)
        ]
        unit = all(s == 1 for s in self.stride)
        self._as_forward = not transposed and unit and all(p >= 0 for p in self._flipped_padding)
        # As a matrix product: oneDNN wants the weights of a 1 x 1 convolution in another layout for one row than for
        # several, and lays out anew at every call what is not as it wants it.
        points = self._packed and unit and groups == 1 and set(weight.shape[2:]) == {1} and not any(self.padding)
        self._points = LinearMap(weight.flatten(1), bias, native, pack_from=0) if points else None
        few = self._packed and not points and weight.shape[1] <= MOST_CHANNELS
        few = few and groups == 1 and set(self.dilation) == {1}
        self._blocked = BlockedGradient(self.weight, self.stride, self.padding) if few else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, Cin, *S) -> (N, Cout, *S')."""
        if any(self.after):
            x = F.pad(x, [size for extra in reversed(self.after) for size in (0, extra)])
        x = channels_last(x)
        if self._points is not None:
            return self._points.forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.transposed:
            return _TRANSPOSED[self.spatial](
                x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
            )
        if not self._packed or not x.numel():
            y = _FORWARD[self.spatial](x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
            return channels_last(y)
        if self._forward_weight is None:
            self._forward_weight = self._pack(self.weight, self.padding, self.stride, x)
        return self._pointwise(x, self._forward_weight, self.bias, self.padding, self.stride)

    def backward(self, g: torch.Tensor, spatial: tuple[int, ...]) -> torch.Tensor:
        """g: (N, Cout, *S') -> (N, Cin, *spatial), the transpose of the linear part."""
        if any(self.after):
            padded = self._backward(g, tuple(n + extra for n, extra in zip(spatial, self.after, strict=True)))
            return channels_last(padded[(..., *(slice(n) for n in spatial))])
        return self._backward(g, spatial)

    def _backward(self, g: torch.Tensor, spatial: tuple[int, ...]) -> torch.Tensor:
        g = channels_last(g)
        if self._points is not None:
            return self._points.backward(g.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.transposed:
            x = _FORWARD[self.spatial](g, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
            # An output padding of a whole stride or more adds positions that no input reaches.
            return x[(..., *(slice(n) for n in spatial))]
        if self._blocked is not None and g.numel():
            return self._blocked(g, spatial)
        if self._as_forward:
            if self._backward_weight is None:
                flipped = self._flipped()
                packed = self._packed and g.numel() > 0
                unit = [1] * self.spatial
                self._backward_weight = self._pack(flipped, self._flipped_padding, unit, g) if packed else flipped
            if not self._packed or not g.numel():
                weight = self._flipped() if self._packed else self._backward_weight
                return _FORWARD[self.spatial](g, weight, None, 1, self._flipped_padding, self.dilation, self.groups)
            return self._pointwise(g, self._backward_weight, None, self._flipped_padding, [1] * self.spatial)
        rest = [
            n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, s, p, d, k in zip(
                spatial, g.shape[2:], self.stride, self.padding, self.dilation, self.weight.shape[2:], strict=True
            )
        ]
        return _TRANSPOSED[self.spatial](
            g, self.weight, None, self.stride, self.padding, rest, self.groups, self.dilation
        )

    def _flipped(self) -> torch.Tensor:
        out, per_group, *kernel = self.weight.shape
        blocks = self.weight.view(self.groups, out // self.groups, per_group, *kernel).transpose(1, 2)
        flipped = blocks.reshape(self.groups * per_group, out // self.groups, *kernel)
        return channels_last(flipped.flip(*range(2, 2 + self.spatial)))

    def _pack(self, weight: torch.Tensor, padding: list, stride: list, x: torch.Tensor) -> torch.Tensor:
        return pack_convolution(weight, padding, stride, self.dilation, self.groups, x)

    def _pointwise(self, x, weight, bias, padding, stride) -> torch.Tensor:
        return convolve(x, weight, bias, padding, stride, self.dilation, self.groups)


class LinearMap:
    """y = x Wᵀ + b and g -> g W.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        native: as for `ConvMap`.
        pack_from: prepacked calls serve this many weights or more.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        native: bool = True,
        pack_from: int = _PACK_LINEAR_FROM,
    ):
        self.weight, self.bias = weight, bias
        self._packed = packs(weight, native) and weight.numel() >= pack_from
        self._forward_weight = self._backward_weight = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, ..., in) -> (N, ..., out)."""
        if not self._packed or not x.numel():
            return F.linear(x, self.weight, self.bias)
        if self._forward_weight is None:
            self._forward_weight = self._pack(self.weight)
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), self._forward_weight, self.bias, "none", [], "")

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """g: (N, ..., out) -> (N, ..., in)."""
        if not self._packed or not g.numel():
            return g.matmul(self.weight)
        if self._backward_weight is None:
            self._backward_weight = self._pack(self.weight.t().contiguous())
        return torch.ops.mkldnn._linear_pointwise(g.contiguous(), self._backward_weight, None, "none", [], "")

    def _pack(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS)
