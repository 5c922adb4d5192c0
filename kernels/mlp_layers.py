"""What Triton kernels over layers of a perceptron share: products over tiles of rows, and how weights lie."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Columns that are multiplied at once, the inner size of every product; hidden layers are padded to powers of two of it.
BLOCK = tl.constexpr(32)
# Programs for each multiprocessor; the interpreter has two programs in all, each with several tiles.
_PROGRAMS = 4


@triton.jit
def relu(z):
    """A comparison with NaN is false, so NaN stays NaN."""
    return tl.where(z < 0, 0.0, z)


@triton.jit
def operand(x, PRECISION: tl.constexpr):
    """x as a product takes it: for TF32 rounded to ten bits of mantissa, as the device would drop the others."""
    if PRECISION == "tf32":
        rounded = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
        # There is no room to round a NaN of all bits.
        x = tl.where(x == x, rounded.to(tl.float32, bitcast=True), x)
    return x


@triton.jit
def product(h_ptr, layer_ptr, DEPTH: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr):
    """ReLU of h (ROWS, DEPTH) times a layer's weight (DEPTH, WIDTH), plus the bias in the row below it."""
    row, block, column = tl.arange(0, ROWS), tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    y = tl.zeros((ROWS, WIDTH), tl.float32)
    for start in range(0, DEPTH, BLOCK):
        h = tl.load(h_ptr + row[:, None] * DEPTH + (start + block)[None, :])
        weight = tl.load(layer_ptr + (start + block)[:, None] * WIDTH + column[None, :])
        y = tl.dot(operand(relu(h), PRECISION), operand(weight, PRECISION), y, input_precision=PRECISION)
    return y + tl.load(layer_ptr + DEPTH * WIDTH + column)[None, :]


@triton.jit
def behind(y, h_ptr, layers_ptr, WIDTHS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr):
    """f (ROWS, WIDTHS[-1]) of the second layer's pre-activations y (ROWS, WIDTHS[1])."""
    layers_ptr += (WIDTHS[0] + 1) * WIDTHS[1]
    for layer in tl.static_range(1, len(WIDTHS) - 1):
        # Threads read what others write: before it is overwritten, and after.
        tl.debug_barrier()
        tl.store(h_ptr + tl.arange(0, ROWS)[:, None] * WIDTHS[layer] + tl.arange(0, WIDTHS[layer])[None, :], y)
        tl.debug_barrier()
        y = product(h_ptr, layers_ptr, WIDTHS[layer], WIDTHS[layer + 1], ROWS, PRECISION)
        layers_ptr += (WIDTHS[layer] + 1) * WIDTHS[layer + 1]
    return y


class Tiling(NamedTuple):
    """How the kernels see a network.

    Attributes:
        widths: of its layers, the hidden ones padded to powers of two of at least BLOCK, the last to a power of two.
        outputs: the last width without padding.
        rows: of a tile, an even number.
        warps: of a program.
    """

    widths: tuple[int, ...]
    outputs: int
    rows: int
    warps: int

    @staticmethod
    def of(widths: Sequence[int]) -> Tiling:
        """The tiling of a network with layers of the given widths, at least two of them."""
        hidden = (max(BLOCK.value, triton.next_power_of_2(width)) for width in widths[:-1])
        padded = (*hidden, triton.next_power_of_2(widths[-1]))
        widest = max(padded[1:])
        return Tiling(padded, widths[-1], 64 if widest <= 128 else 32, 4 if widest <= 64 else 8)

    @property
    def hidden(self) -> int:
        """The widest layer whose activations are written behind the first."""
        return max(self.widths[1:-1], default=0)


def transposed_layer(weight: Tensor, bias: Tensor, depth: int, width: int) -> Tensor:
    """(depth + 1, width): the weight, its bias in the row below it, padded with zeros."""
    layer = weight.new_zeros(depth + 1, width)
    layer[: weight.shape[1], : weight.shape[0]] = weight.t()
    layer[depth, : weight.shape[0]] = bias
    return layer


def packed_layers(weights: Sequence[Tensor], biases: Sequence[Tensor], tiling: Tiling) -> Tensor:
    """The layers behind the first, each transposed and padded, one after the other."""
    packed = [
        transposed_layer(weight, bias, *sizes).flatten()
        for weight, bias, sizes in zip(weights, biases, pairwise(tiling.widths), strict=True)
    ]
    return torch.cat(packed)


def programs_for(tiles: int, device: torch.device) -> int:
    """Programs that share so many tiles."""
    on_gpu = device.type == "cuda"
    most = _PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count if on_gpu else 2
    return min(tiles, most)
