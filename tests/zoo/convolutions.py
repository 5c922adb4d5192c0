"""Convolutions of every kind in 1, 2 and 3 dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import Kit
from tests.zoo.registry import add, construct, with_head
from tests.zoo.reuse import Lambda, kit_module

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SIZES = {1: (11,), 2: (7, 8), 3: (5, 4, 5)}

_KINDS = {
    "strided": dict(out_channels=4, kernel_size=3, stride=2, padding=1),
    "stride_beyond_kernel": dict(out_channels=4, kernel_size=2, stride=3),
    "dilated": dict(out_channels=4, kernel_size=2, dilation=2, padding=2),
    "grouped": dict(out_channels=6, kernel_size=3, groups=2, padding=1),
    "depthwise": dict(out_channels=8, kernel_size=3, groups=4, padding=1, bias=False),
    "same": dict(out_channels=4, kernel_size=3, padding="same", dilation=2),
    "same_even_kernel": dict(out_channels=4, kernel_size=4, padding="same"),
    "valid": dict(out_channels=4, kernel_size=2, padding="valid"),
    "reflect": dict(out_channels=4, kernel_size=3, padding=2, padding_mode="reflect"),
    "circular": dict(out_channels=4, kernel_size=3, padding=1, padding_mode="circular"),
    "replicate": dict(out_channels=4, kernel_size=3, padding=1, padding_mode="replicate"),
    "pointwise": dict(out_channels=5, kernel_size=1),
}
_TRANSPOSED_KINDS = {
    "plain": dict(out_channels=4, kernel_size=3, padding=1),
    "output_padding": dict(out_channels=4, kernel_size=3, stride=2, padding=1, output_padding=1),
    "grouped": dict(out_channels=6, kernel_size=2, stride=2, groups=2, bias=False),
    "dilated": dict(out_channels=4, kernel_size=2, dilation=2),
}


def _net(kit: Kit, n: int, conv: nn.Module, norm: bool = False) -> nn.Module:
    body = [_CONV[n](3, 4, 1), kit_module(kit), conv]
    if norm:
        body.append(_NORM[n](conv.out_channels))
    return with_head(nn.Sequential(*body, kit_module(kit)), (3, *SIZES[n]))


for _n in (1, 2, 3):
    for _kind, _options in _KINDS.items():
        add(
            f"conv{_n}d_{_kind}",
            lambda kit, n=_n, options=_options: _net(kit, n, _CONV[n](4, **options)),
            shape=(3, *SIZES[_n]),
        )
    for _kind, _options in _TRANSPOSED_KINDS.items():
        add(
            f"conv_transpose{_n}d_{_kind}",
            lambda kit, n=_n, options=_options: _net(kit, n, _TRANSPOSED[n](4, **options)),
            shape=(3, *SIZES[_n]),
        )
        add(
            f"conv_transpose{_n}d_{_kind}_bn",
            lambda kit, n=_n, options=_options: _net(kit, n, _TRANSPOSED[n](4, **options), norm=True),
            shape=(3, *SIZES[_n]),
            tags="bn",
        )

add(
    "conv2d_asymmetric",
    lambda kit: with_head(
        nn.Sequential(nn.Conv2d(3, 4, (1, 3), stride=(1, 2), padding=(0, 1), dilation=(1, 2)), kit_module(kit)),
        (3, 7, 9),
    ),
    shape=(3, 7, 9),
    notes="kernel, stride, padding and dilation differ by axis",
)
add(
    "conv2d_first_layer_strided_7x7",
    lambda kit: with_head(nn.Sequential(nn.Conv2d(3, 5, 7, stride=2, padding=3), kit_module(kit)), (3, 9, 10)),
    shape=(3, 9, 10),
    notes="the first layer of most image nets",
)
add(
    "conv2d_uncovered_edge",
    lambda kit: with_head(nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), kit_module(kit)), (3, 8, 8)),
    notes="the last row and column reach no output: their gradient is 0",
)
for _mode in ("constant", "reflect", "replicate", "circular"):
    add(
        f"pad_{_mode}_asymmetric",
        lambda kit, mode=_mode: with_head(
            nn.Sequential(
                nn.Conv2d(3, 3, 1), Lambda(lambda x: F.pad(x, (1, 2, 0, 3), mode)), nn.Conv2d(3, 4, 3), kit_module(kit)
            ),
            (3, 6, 6),
        ),
        shape=(3, 6, 6),
    )
add(
    "pad_negative",
    lambda kit: with_head(nn.Sequential(Lambda(lambda x: F.pad(x, (-1, 2, 1, -2))), nn.Conv2d(3, 4, 3)), (3, 6, 6)),
    shape=(3, 6, 6),
    notes="cropping written as negative padding, no ReLU at all",
)


@construct(shape=(3, 6, 6))
class FunctionalConv(nn.Module):
    """F.conv2d with parameters of the root module, weight computed from two of them."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.kernel, self.scale = nn.Parameter(torch.empty(4, 3, 3, 3)), nn.Parameter(torch.empty(4, 1, 1, 1))
        self.relu = kit.relu()
        self.fc = nn.Linear(4 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(F.conv2d(x, self.kernel * self.scale)).flatten(1))


@construct(shapes=((3, 6, 6), (3, 4, 3)))
class DynamicFilter(nn.Module):
    """A convolution whose weight depends on the input: no linear map, walked by its exact VJP."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.filters = nn.Linear(12, 9)
        self.relu = kit.relu()
        self.fc = nn.Linear(3 * 16, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        n = x.shape[0]
        kernels = self.filters(y.flatten(2)).reshape(n * 3, 1, 3, 3)
        h = F.conv2d(x.reshape(1, n * 3, 6, 6), kernels, groups=n * 3)
        return self.fc(self.relu(h.reshape(n, 3, 4, 4)).flatten(1))
