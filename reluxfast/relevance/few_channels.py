"""Input-gradient of a convolution with few input channels, as a convolution with a block of pixels as channels.

A transposed convolution to 3 channels leaves most of a vector register empty. Written for blocks of b x b pixels, the
same sums are a plain convolution with b * b * 3 output channels: with b the stride, every tap meets a pixel it
contributes to; at stride 1, b = 2 repeats a few zero taps and still fills the register better.
"""

from __future__ import annotations

import torch

from reluxfast.relevance.packing import convolve, pack_convolution

# Above this many input channels the ordinary input-gradient fills its registers.
MOST_CHANNELS = 4


class _Axis:
    """One spatial axis: which tap of the block convolution is which tap of the original.

    Pixel h = b*q + a of the input receives w[k] * g[i] where s*i = h + p - k, so i = (b/s)*q + t with
    t = (a + p - k)/s.
    """

    def __init__(self, kernel: int, stride: int, padding: int):
        self.block = stride if stride > 1 else 2
        self.step = self.block // stride
        taps = {
            (a, k): (a + padding - k) // stride
            for a in range(self.block)
            for k in range(kernel)
            if (a + padding - k) % stride == 0
        }
        self.first = min(taps.values())
        self.size = max(taps.values()) - self.first + 1
        self.select = torch.zeros(self.block, self.size, kernel, device="cpu")
        for (a, k), t in taps.items():
            self.select[a, t - self.first, k] = 1

    def frame(self, pixels: int, signals: int) -> tuple[int, int, int]:
        """Number of blocks, padding, and leading results to drop, for `pixels` pixels and `signals` signals."""
        blocks = -(-pixels // self.block)
        left = -self.first
        padding = max(left, (blocks - 1) * self.step + self.size - left - signals, 0)
        while (padding - left) % self.step:
            padding += 1
        return blocks, padding, (padding - left) // self.step


class BlockedGradient:
    """g -> convᵀ(g) for a 2-d convolution with stride, zero padding, no dilation and no groups.

    Args:
        weight: (Cout, Cin, K, K') with Cin small.
        stride, padding: per axis.
    """

    def __init__(self, weight: torch.Tensor, stride: list[int], padding: list[int]):
        self.channels = weight.shape[1]
        self.axes = [_Axis(k, s, p) for k, s, p in zip(weight.shape[2:], stride, padding, strict=True)]
        rows, columns = (axis.select.to(weight) for axis in self.axes)
        blocks = torch.einsum("ocij,aui,bvj->abcouv", weight, rows, columns)
        self.weight = blocks.reshape(-1, *blocks.shape[3:]).contiguous(memory_format=torch.channels_last)
        self.stride = [axis.step for axis in self.axes]
        self._packed: torch.Tensor | None = None

    def __call__(self, g: torch.Tensor, spatial: tuple[int, ...]) -> torch.Tensor:
        """g: (N, Cout, H', W') channels-last -> (N, Cin, *spatial) channels-last."""
        frames = [a.frame(n, m) for a, n, m in zip(self.axes, spatial, g.shape[2:], strict=True)]
        padding = [padding for _, padding, _ in frames]
        if self._packed is None:
            self._packed = pack_convolution(self.weight, padding, self.stride, [1, 1], 1, g)
        y = convolve(g, self._packed, None, padding, self.stride, [1, 1], 1)
        (rows, _, top), (columns, _, left) = frames
        height, width = (axis.block for axis in self.axes)
        y = y[:, :, top : top + rows, left : left + columns].permute(0, 2, 3, 1)
        y = y.reshape(g.shape[0], rows, columns, height, width, self.channels).transpose(2, 3)
        y = y.reshape(g.shape[0], rows * height, columns * width, self.channels)
        return y[:, : spatial[0], : spatial[1]].permute(0, 3, 1, 2)
