"""Batch norm in every place it is put."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.convolutions import _CONV, _NORM, SIZES
from tests.zoo.kit import Kit
from tests.zoo.registry import add, construct, with_head
from tests.zoo.reuse import Lambda, kit_module


def _sequence(name: str, shape: tuple[int, ...], layers, notes: str = "", **fields) -> None:
    def build(kit: Kit) -> nn.Module:
        return with_head(nn.Sequential(*layers(lambda: kit_module(kit))), shape)

    add(name, build, shape=shape, notes=notes, tags="bn", **fields)


for _n in (1, 2, 3):
    _shape = (3, *SIZES[_n])
    _sequence(f"bn{_n}d_after_conv", _shape, lambda act, n=_n: [_CONV[n](3, 4, 3, padding=1), _NORM[n](4), act()])
    _sequence(f"bn{_n}d_before_conv", _shape, lambda act, n=_n: [_NORM[n](3), _CONV[n](3, 4, 3, padding=1), act()])
    _sequence(f"bn{_n}d_after_relu", _shape, lambda act, n=_n: [_CONV[n](3, 4, 3), act(), _NORM[n](4), act()])
    _sequence(
        f"bn{_n}d_no_affine",
        _shape,
        lambda act, n=_n: [_CONV[n](3, 4, 3, bias=False), _NORM[n](4, affine=False), act()],
    )
    _sequence(
        f"bn{_n}d_grouped",
        _shape,
        lambda act, n=_n: [_CONV[n](3, 6, 3, groups=3), _NORM[n](6, eps=0.1), act(), _CONV[n](6, 4, 1)],
    )
_sequence("bn_after_linear", (10,), lambda act: [nn.Linear(10, 8), nn.BatchNorm1d(8), act(), nn.Linear(8, 6)])
_sequence(
    "bn_after_linear_3d",
    (5, 6),
    lambda act: [nn.Linear(6, 7), nn.BatchNorm1d(5), act()],
    notes="a linear layer over the last axis, batch norm over dimension 1: folding by output feature would be wrong",
)
_sequence("bn_on_input", (3, 6, 6), lambda act: [nn.BatchNorm2d(3), act(), nn.Conv2d(3, 4, 3)])
_sequence("bn_twice", (3, 6, 6), lambda act: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), act()])
_sequence(
    "bn_preactivation",
    (3, 6, 6),
    lambda act: [nn.BatchNorm2d(3), act(), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), act(), nn.Conv2d(4, 2, 1)],
    notes="BN before ReLU before convolution, as in DenseNet",
)
_sequence(
    "bn_after_dropout",
    (3, 6, 6),
    lambda act: [nn.Conv2d(3, 4, 3), nn.Dropout2d(0.5), nn.BatchNorm2d(4), act(), nn.Dropout(0.3)],
)
_sequence(
    "bn_after_flattened_conv",
    (3, 4, 4),
    lambda act: [nn.Conv2d(3, 4, 3), nn.Flatten(), nn.BatchNorm1d(16), act()],
    notes="batch norm over the flattened features of a convolution: it does not fold",
)
_sequence(
    "bn_after_cat",
    (3, 6, 6),
    lambda act: [nn.Conv2d(3, 4, 3), Lambda(lambda x: torch.cat([x, F.avg_pool2d(x, 3, 1, 1)], 1)), nn.BatchNorm2d(8)],
)
_sequence(
    "bn_train_flag",
    (3, 6, 6),
    lambda act: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act(), nn.Dropout(0.5)],
    notes="the training flag is on: explained as in eval mode, left untouched",
    training=True,
)


@construct(shape=(3, 6, 6), tags="bn")
class FunctionalBatchNorm(nn.Module):
    """F.batch_norm with buffers of the root module and no scale."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), kit.relu(), nn.Linear(64, 4)
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        h = F.batch_norm(self.conv(x), self.running_mean, self.running_var, None, self.shift, False)
        return self.fc(self.relu(h).flatten(1))


@construct(shape=(3, 6, 6), tags="bn")
class FrozenNorm(nn.Module):
    """Batch norm written out as a product and a sum with buffers, as detection models do."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3, bias=False), kit.relu(), nn.Linear(64, 4)
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        h = self.conv(x) * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)
        return self.fc(self.relu(h).flatten(1))
