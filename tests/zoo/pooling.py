"""Pooling of every kind in 1, 2 and 3 dimensions, on odd sizes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from tests.zoo.convolutions import _CONV
from tests.zoo.kit import Kit
from tests.zoo.registry import add, with_head
from tests.zoo.reuse import Lambda, kit_module

_MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVG = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_ADAPTIVE_AVG = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
_ADAPTIVE_MAX = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}
_SIZES = {1: (13,), 2: (7, 9), 3: (5, 6, 5)}

_MAX_KINDS = {
    "plain": dict(kernel_size=2),
    "padded": dict(kernel_size=3, stride=2, padding=1),
    "overlapping": dict(kernel_size=3, stride=1),
    "ceil_mode": dict(kernel_size=3, stride=2, ceil_mode=True),
    "ceil_mode_padded": dict(kernel_size=2, stride=2, padding=1, ceil_mode=True),
    "dilated": dict(kernel_size=2, stride=1, dilation=2),
    "stride_beyond_kernel": dict(kernel_size=2, stride=3),
}
_AVG_KINDS = {
    "plain": dict(kernel_size=2),
    "padded": dict(kernel_size=3, stride=2, padding=1),
    "padding_not_counted": dict(kernel_size=3, stride=2, padding=1, count_include_pad=False),
    "ceil_mode": dict(kernel_size=3, stride=2, ceil_mode=True),
    "overlapping": dict(kernel_size=3, stride=1),
}


def _pooled(name: str, n: int, pool, shape: tuple[int, ...], order: str = "relu_pool", notes: str = "") -> None:
    def build(kit: Kit) -> nn.Module:
        conv, act = _CONV[n](3, 4, 3, padding=1), kit_module(kit)
        bodies = {"relu_pool": [conv, act, pool()], "pool_relu": [conv, pool(), act], "pool": [pool(), conv, act]}
        return with_head(nn.Sequential(*bodies[order]), shape)

    add(name, build, shape=shape, notes=notes, tags="pool")


for _n in (1, 2, 3):
    _s = (3, *_SIZES[_n])
    for _kind, _options in _MAX_KINDS.items():
        _pooled(f"max_pool{_n}d_{_kind}", _n, lambda n=_n, o=_options: _MAX[n](**o), _s)
    for _kind, _options in _AVG_KINDS.items():
        _pooled(f"avg_pool{_n}d_{_kind}", _n, lambda n=_n, o=_options: _AVG[n](**o), _s)
    _pooled(f"max_pool{_n}d_before_relu", _n, lambda n=_n: _MAX[n](2), _s, "pool_relu", "pools signed values")
    _pooled(f"max_pool{_n}d_on_input", _n, lambda n=_n: _MAX[n](3, 2, 1), _s, "pool", "pools signed values")
    _pooled(f"adaptive_avg_pool{_n}d_odd", _n, lambda n=_n: _ADAPTIVE_AVG[n](3), _s)
    _pooled(f"adaptive_avg_pool{_n}d_one", _n, lambda n=_n: _ADAPTIVE_AVG[n](1), _s)
    _pooled(f"adaptive_max_pool{_n}d_odd", _n, lambda n=_n: _ADAPTIVE_MAX[n](3), _s)
    _pooled(f"adaptive_max_pool{_n}d_one", _n, lambda n=_n: _ADAPTIVE_MAX[n](1), _s)

_pooled("max_pool1d_20_taps", 1, lambda: nn.MaxPool1d(20, 3, 4), (3, 25), notes="winner needs more than four bits")
_pooled("max_pool2d_25_taps", 2, lambda: nn.MaxPool2d(5, 2, 2), (3, 9, 8), notes="winner needs more than four bits")
_pooled("max_pool3d_27_taps", 3, lambda: nn.MaxPool3d(3, 2, 1), (3, 5, 4, 5), notes="winner needs more than four bits")
_pooled("max_pool2d_272_taps", 2, lambda: nn.MaxPool2d(17, 1, 8), (3, 9, 9), notes="winner does not fit into a byte")
_pooled("max_pool2d_asymmetric", 2, lambda: nn.MaxPool2d((3, 1), (2, 1), (1, 0)), (3, 7, 5))
_pooled("avg_pool2d_divisor", 2, lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5), (3, 7, 7))
_pooled("avg_pool2d_functional", 2, lambda: Lambda(lambda x: F.avg_pool2d(x, 3, 2, 1, True, False)), (3, 7, 7))
_pooled("max_pool2d_functional", 2, lambda: Lambda(lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)), (3, 7, 7))
_pooled("adaptive_avg_pool2d_uneven", 2, lambda: nn.AdaptiveAvgPool2d((4, None)), (3, 7, 5))
_pooled("lp_pool2d", 2, lambda: nn.LPPool2d(2, 2), (3, 6, 6), "pool_relu", "exact VJP of several nodes")
_pooled("global_amax", 2, lambda: Lambda(lambda x: x.amax((2, 3))), (3, 6, 6), "pool_relu", "splits ties evenly")
_pooled("max_over_axis", 2, lambda: Lambda(lambda x: x.max(dim=3).values), (3, 6, 6), "relu_pool")
_pooled("max_pool_twice", 2, lambda: nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(2)), (3, 7, 6))


def _shared(kit: Kit) -> nn.Module:
    class SharedRelu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), kit.relu()
            self.up = nn.Upsample(scale_factor=2)

        def forward(self, x):
            r = self.relu(self.conv(x))
            return r - self.up(self.pool(r))

    return with_head(SharedRelu(), (3, 6, 6))


add("max_pool_beside_its_relu", _shared, shape=(3, 6, 6), notes="the ReLU's output is read by the pool and elsewhere")
