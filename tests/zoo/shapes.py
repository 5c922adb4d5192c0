"""Everything that only moves, repeats or sums values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import Kit
from tests.zoo.registry import add, construct, with_head
from tests.zoo.reuse import Lambda, kit_module


def _moved(name: str, function, shape: tuple[int, ...] = (3, 6, 6), notes: str = "", channels: int = 4) -> None:
    """conv, ReLU, `function`, head."""

    def build(kit: Kit) -> nn.Module:
        return with_head(
            nn.Sequential(nn.Conv2d(shape[0], channels, 3, padding=1), kit_module(kit), Lambda(function)), shape
        )

    add(name, build, shape=shape, notes=notes, tags="shape")


def _shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


_moved("chunk", lambda x: torch.cat([a * s for a, s in zip(x.chunk(2, 1), (1.0, -2.0), strict=True)], 1))
_moved("split", lambda x: (lambda a, b: a.mean(1, keepdim=True) * 3.0 - b)(*torch.split(x, [1, 3], 1)))
_moved("transpose", lambda x: x.transpose(1, 2) * 2.0)
_moved("permute_nhwc", lambda x: x.permute(0, 2, 3, 1).contiguous())
_moved("view_batch_size", lambda x: x.view(x.size(0), -1))
_moved("view_minus_one", lambda x: x.view(-1, 4 * 36), notes="right as long as the image size is right")
_moved("reshape_shape", lambda x: x.reshape(x.shape[0], 4, -1))
_moved("reshape_after_permute", lambda x: x.permute(0, 3, 1, 2).reshape(x.shape[0], -1))
_moved("flatten_start", lambda x: torch.flatten(x, 1))
_moved("flatten_middle", lambda x: x.flatten(2))
_moved("unflatten", lambda x: x.unflatten(1, (2, 2)).sum(2))
_moved("unsqueeze_squeeze", lambda x: (x.unsqueeze(2) * 0.5).squeeze(2))
_moved("squeeze_all_but_batch", lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1))
_moved("channel_shuffle_written", _shuffle)
_moved("channel_shuffle", lambda x: F.channel_shuffle(x, 2) * 2.0)
_moved("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2))
_moved("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2))
_moved("mean_spatial", lambda x: x.mean((2, 3)))
_moved("mean_spatial_negative", lambda x: x.mean([-2, -1], keepdim=True))
_moved("mean_in_two_steps", lambda x: x.mean(-1).mean(-1))
_moved("mean_channels", lambda x: x.mean(1))
_moved("sum_spatial", lambda x: x.sum((2, 3)) * 0.1)
_moved("sum_channels", lambda x: torch.sum(x, dim=1, keepdim=True))
_moved("slice_channels", lambda x: x[:, 1:3])
_moved("slice_strided", lambda x: x[:, :, ::2, 1::2])
_moved("select", lambda x: x[:, 0])
_moved("narrow", lambda x: x.narrow(3, 1, 3))
_moved("index_select", lambda x: x.index_select(1, torch.tensor([2, 0, 2])))
_moved("index_list", lambda x: x[:, [3, 1, 1]])
_moved("flip", lambda x: x.flip(3) * 2.0)
_moved("roll", lambda x: x.roll(1, 2) - x)
_moved("unbind", lambda x: x.unbind(1)[2])
_moved("expand", lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 3, 3))
_moved("expand_as", lambda x: x[:, :1].expand_as(x) + x)
_moved("repeat", lambda x: x.repeat(1, 2, 1, 1))
_moved("repeat_interleave", lambda x: x.repeat_interleave(2, 3))
_moved("unfold", lambda x: F.unfold(x, 3, stride=2))
_moved("cumsum", lambda x: x.cumsum(2) * 0.3)
_moved("einsum", lambda x: torch.einsum("nchw,ndhw->ncd", x, x) * 0.1)
_moved("tril", lambda x: x.tril())
_moved("masked_fill", lambda x: x.masked_fill(x > 1.0, 0.5), notes="a constant where a condition on values holds")
_moved("upsample_nearest", lambda x: F.interpolate(x, scale_factor=2))
_moved("interpolate_size", lambda x: F.interpolate(x, size=(5, 8)))
_moved("interpolate_bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
_moved("interpolate_aligned", lambda x: F.interpolate(x, size=(4, 9), mode="bilinear", align_corners=True))
_moved("interpolate_bicubic", lambda x: F.interpolate(x, size=(9, 4), mode="bicubic", align_corners=False))
_moved("interpolate_area", lambda x: F.interpolate(x, size=(4, 4), mode="area"))
_moved("interpolate_exact", lambda x: F.interpolate(x, size=(4, 9), mode="nearest-exact"))
_moved("interpolate_to_sibling", lambda x: F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:]) + x)
_moved("dropout_functional", lambda x: F.dropout(x, 0.5, training=False))

for _n, _shape, _mode in ((1, (3, 5), "linear"), (3, (3, 3, 2, 3), "trilinear")):
    _conv = {1: nn.Conv1d, 3: nn.Conv3d}[_n]
    for _kind, _options in {"nearest": {}, _mode: {"mode": _mode, "align_corners": True}}.items():
        add(
            f"upsample{_n}d_{_kind}",
            lambda kit, conv=_conv, options=_options, shape=_shape: with_head(
                nn.Sequential(conv(3, 4, 1), kit_module(kit), nn.Upsample(scale_factor=2, **options)), shape
            ),
            shape=_shape,
        )


@construct(shape=(3, 6, 6), target=(2, 1))
class MatrixOutput(nn.Module):
    """Outputs of two dimensions, explained by a tuple index."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 5, 3), kit.relu(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).flatten(2))


@construct(shape=(3, 6, 6), target=(1, 2, 3))
class SegmentationOutput(nn.Module):
    """A map of logits: one pixel of one class is explained, far pixels get exact zeros."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.relu, self.b = nn.Conv2d(3, 5, 3, padding=1), kit.relu(), nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.relu(self.a(x)))


@construct(shape=(7,), target=None)
class ScalarOutput(nn.Module):
    """One output per row, no class axis: target None."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.a, self.relu, self.b = nn.Linear(7, 9), kit.relu(), nn.Linear(9, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.relu(self.a(x))).squeeze(1)
