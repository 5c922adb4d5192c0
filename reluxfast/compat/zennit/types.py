"""Families of layers, for layer maps and isinstance: virtual base classes of PyTorch's modules."""

from __future__ import annotations

from abc import ABCMeta

from torch import nn
from torch.nn.modules import activation

_DIMENSIONS = (1, 2, 3)
# No function of each element alone, or (Mish) left to the gradient by Zennit too.
_OTHER_ACTIVATIONS = {
    nn.GLU,
    nn.LogSoftmax,
    nn.Mish,
    nn.MultiheadAttention,
    nn.Softmax,
    nn.Softmax2d,
    nn.Softmin,
}


class _Family(ABCMeta):
    """Type of the families: `register` makes a class a member of one."""


class ConvolutionTranspose(metaclass=_Family):
    """Transposed convolutions in 1 to 3 dimensions."""


class ConvolutionStandard(metaclass=_Family):
    """Convolutions in 1 to 3 dimensions, but for transposed ones."""


class Convolution(metaclass=_Family):
    """Convolutions in 1 to 3 dimensions, transposed or not."""


class Linear(metaclass=_Family):
    """All linear layers: convolutions and `torch.nn.Linear`."""


class BatchNorm(metaclass=_Family):
    """Batch norms in 1 to 3 dimensions."""


class AvgPool(metaclass=_Family):
    """Average pools, adaptive or not."""


class MaxPool(metaclass=_Family):
    """Max-pools, adaptive or not."""


class Activation(metaclass=_Family):
    """Activations that take each element for itself."""


def _each(name: str) -> list[type[nn.Module]]:
    return [getattr(nn, f"{name}{d}d") for d in _DIMENSIONS]


def _register() -> None:
    families = {
        ConvolutionTranspose: _each("ConvTranspose"),
        ConvolutionStandard: _each("Conv"),
        Convolution: [ConvolutionStandard, ConvolutionTranspose],
        Linear: [Convolution, nn.Linear],
        BatchNorm: _each("BatchNorm"),
        AvgPool: _each("AvgPool") + _each("AdaptiveAvgPool"),
        MaxPool: _each("MaxPool") + _each("AdaptiveMaxPool"),
        Activation: [
            kind
            for kind in vars(activation).values()
            if isinstance(kind, type)
            and issubclass(kind, nn.Module)
            and kind.__module__ == activation.__name__
            and kind not in _OTHER_ACTIVATIONS
        ],
    }
    for family, members in families.items():
        for member in members:
            family.register(member)


_register()
