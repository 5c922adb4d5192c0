"""Look-alikes of well-known families at tiny widths: what they are built from, not what they weigh."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import FUNCTIONAL, INPLACE_MODULES, Kit
from tests.zoo.registry import add
from tests.zoo.reuse import kit_module

_DEEP = {"tags": "family", "shape": (3, 12, 12)}


def _family(name: str, kit: Kit = INPLACE_MODULES, **fields):
    def register(build):
        add(name, build, kit=kit, notes=(build.__doc__ or "").strip(), **(_DEEP | fields))
        return build

    return register


@_family("alexnet")
def alexnet(kit: Kit) -> nn.Module:
    """Large first kernel, overlapping pools, adaptive pool, dropout, three linear layers."""
    act = lambda: kit_module(kit)  # noqa: E731
    features = nn.Sequential(
        *(nn.Conv2d(3, 6, 5, stride=2, padding=2), act(), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(6, 8, 3, padding=1), act(), nn.Conv2d(8, 6, 3, padding=1), act(), nn.MaxPool2d(3, 2)),
    )
    head = nn.Sequential(nn.Dropout(), nn.Linear(24, 10), act(), nn.Dropout(), nn.Linear(10, 10), act())
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head, nn.Linear(10, 4))


def _vgg(kit: Kit, norm: bool) -> nn.Module:
    layers, channels = [], 3
    for item in (4, "M", 6, 6, "M", 8, "M"):
        if item == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(channels, item, 3, padding=1))
        layers += [nn.BatchNorm2d(item)] if norm else []
        layers.append(kit_module(kit))
        channels = item
    head = nn.Sequential(nn.Linear(8, 10), kit_module(kit), nn.Dropout(), nn.Linear(10, 4))
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


add("vgg", lambda kit: _vgg(kit, False), kit=INPLACE_MODULES, notes="conv, ReLU in place, max-pool", **_DEEP)
add("vgg_bn", lambda kit: _vgg(kit, True), kit=INPLACE_MODULES, notes="the same with batch norm", **_DEEP)


class _Basic(nn.Module):
    def __init__(self, kit: Kit, c_in: int, c: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
        self.relu = kit.relu()
        self.downsample = _projection(c_in, c, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class _Bottleneck(nn.Module):
    def __init__(self, kit: Kit, c_in: int, c: int, stride: int, groups: int = 1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(c)
        self.conv3, self.bn3 = nn.Conv2d(c, 2 * c, 1, bias=False), nn.BatchNorm2d(2 * c)
        self.relu = kit.relu()
        self.downsample = _projection(c_in, 2 * c, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


def _projection(c_in: int, c_out: int, stride: int) -> nn.Module | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


class _ResNet(nn.Module):
    def __init__(self, kit: Kit, *blocks: nn.Module, width: int):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), kit.relu()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = nn.Sequential(*blocks[:2]), nn.Sequential(*blocks[2:])
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


@_family("resnet18")
def resnet18(kit: Kit) -> nn.Module:
    """Basic blocks with `+=`, one in-place ReLU module per block."""
    return _ResNet(kit, _Basic(kit, 4, 4, 1), _Basic(kit, 4, 4, 1), _Basic(kit, 4, 6, 2), _Basic(kit, 6, 6, 1), width=6)


@_family("resnet50")
def resnet50(kit: Kit) -> nn.Module:
    """Bottleneck blocks, projection shortcuts."""
    blocks = _Bottleneck(kit, 4, 4, 1), _Bottleneck(kit, 8, 4, 1), _Bottleneck(kit, 8, 6, 2), _Bottleneck(kit, 12, 6, 1)
    return _ResNet(kit, *blocks, width=12)


@_family("resnext")
def resnext(kit: Kit) -> nn.Module:
    """Bottlenecks with grouped convolutions."""
    return _ResNet(
        kit, _Bottleneck(kit, 4, 4, 1, 2), _Bottleneck(kit, 8, 4, 1, 4), _Bottleneck(kit, 8, 6, 2, 3), width=12
    )


class _DenseLayer(nn.Module):
    def __init__(self, kit: Kit, channels: int, growth: int):
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(channels), kit.relu()
        self.conv1 = nn.Conv2d(channels, 6, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(6), kit.relu()
        self.conv2 = nn.Conv2d(6, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        h = self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(h)))


class _DenseNet(nn.Module):
    def __init__(self, kit: Kit):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), kit_module(kit))
        self.layers = nn.ModuleList(_DenseLayer(kit, 4 + 3 * i, 3) for i in range(3))
        self.transition = nn.Sequential(nn.BatchNorm2d(13), kit_module(kit), nn.Conv2d(13, 6, 1), nn.AvgPool2d(2, 2))
        self.norm, self.head, self.act = nn.BatchNorm2d(6), nn.Linear(6, 4), kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(features))
        h = self.norm(self.transition(torch.cat(features, 1)))
        return self.head(F.adaptive_avg_pool2d(self.act(h), (1, 1)).flatten(1))


add("densenet", _DenseNet, kit=INPLACE_MODULES, notes="BN before ReLU, every layer reads all before it", **_DEEP)


class _BasicConv(nn.Module):
    def __init__(self, kit: Kit, c_in: int, c_out: int, k: int | tuple[int, int], **options):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c_in, c_out, k, bias=False, **options), nn.BatchNorm2d(c_out, eps=0.001)
        self.relu = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class _GoogLeNetBlock(nn.Module):
    def __init__(self, kit: Kit, c: int):
        super().__init__()
        self.branch1 = _BasicConv(kit, c, 3, 1)
        self.branch2 = nn.Sequential(_BasicConv(kit, c, 2, 1), _BasicConv(kit, 2, 3, 3, padding=1))
        self.branch3 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), _BasicConv(kit, c, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], 1)


@_family("googlenet", FUNCTIONAL)
def googlenet(kit: Kit) -> nn.Module:
    """F.relu everywhere: hook libraries return the plain gradient."""
    return nn.Sequential(
        *(_BasicConv(kit, 3, 4, 5, stride=2, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(_GoogLeNetBlock(kit, 4), _GoogLeNetBlock(kit, 8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 4)),
    )


class _InceptionBlock(nn.Module):
    def __init__(self, kit: Kit, c: int):
        super().__init__()
        self.wide = nn.Sequential(
            _BasicConv(kit, c, 3, (1, 5), padding=(0, 2)), _BasicConv(kit, 3, 3, (5, 1), padding=(2, 0))
        )
        self.pooled, self.reduced = _BasicConv(kit, c, 2, 1), _BasicConv(kit, c, 3, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        wide = F.max_pool2d(self.wide(x), kernel_size=3, stride=2)
        return torch.cat([wide, F.max_pool2d(pooled, 3, 2), self.reduced(x)], 1)


@_family("inception", FUNCTIONAL)
def inception(kit: Kit) -> nn.Module:
    """Functional pools, factorised kernels, F.relu."""
    return nn.Sequential(
        *(_BasicConv(kit, 3, 4, 3, stride=2), _InceptionBlock(kit, 4), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 4)),
    )


class _Fire(nn.Module):
    def __init__(self, kit: Kit, c: int):
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(c, 3, 1), kit.relu()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(3, 3, 1), kit.relu()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(3, 3, 3, padding=1), kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        left = self.expand1x1_activation(self.expand1x1(x))
        return torch.cat([left, self.expand3x3_activation(self.expand3x3(x))], 1)


@_family("squeezenet")
def squeezenet(kit: Kit) -> nn.Module:
    """Fire blocks; the classifier is a convolution, a ReLU and a mean."""
    return nn.Sequential(
        *(nn.Conv2d(3, 5, 3, stride=2), kit_module(kit), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(_Fire(kit, 5), _Fire(kit, 6), nn.Dropout(0.5), nn.Conv2d(6, 4, 1), kit_module(kit)),
        *(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()),
    )


class _ShuffleUnit(nn.Module):
    def __init__(self, kit: Kit, c: int, stride: int):
        super().__init__()
        self.stride, half = stride, c // 2 if stride == 1 else c
        self.branch1 = nn.Sequential(
            nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False), nn.BatchNorm2d(half), nn.Conv2d(half, half, 1)
        )
        self.branch2 = nn.Sequential(
            *(nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), kit_module(kit)),
            *(nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False), nn.BatchNorm2d(half)),
            *(nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), kit_module(kit)),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        n, c, h, w = out.size()
        return torch.transpose(out.view(n, 2, c // 2, h, w), 1, 2).contiguous().view(n, c, h, w)


class _ShuffleNet(nn.Module):
    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), kit_module(kit))
        self.stage = nn.Sequential(_ShuffleUnit(kit, 4, 2), _ShuffleUnit(kit, 8, 1), _ShuffleUnit(kit, 8, 1))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(self.conv1(x))
        return self.fc(x.mean([2, 3]))


add("shufflenet_v2", _ShuffleNet, kit=INPLACE_MODULES, notes="chunk, concat, channel shuffle, mean", **_DEEP)


class _Inverted(nn.Module):
    """Expand, depthwise, (squeeze-excite,) project; residual where shapes allow."""

    def __init__(self, kit: Kit, c_in: int, c_out: int, stride: int, act, excite: bool = False, k: int = 3):
        super().__init__()
        wide = 2 * c_in
        self.expand = nn.Sequential(nn.Conv2d(c_in, wide, 1, bias=False), nn.BatchNorm2d(wide), act())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, k, stride, k // 2, groups=wide, bias=False), nn.BatchNorm2d(wide), act()
        )
        self.excite = _Excite(kit, wide) if excite else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + out if self.residual else out


class _Excite(nn.Module):
    def __init__(self, kit: Kit, c: int, gate: type[nn.Module] = nn.Sigmoid):
        super().__init__()
        self.avgpool, self.fc1, self.fc2 = nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)
        self.activation, self.scale_activation = kit.relu(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class _Mobile(nn.Module):
    def __init__(self, kit: Kit, act, excite: bool, mean: bool = False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), act())
        self.blocks = nn.Sequential(
            _Inverted(kit, 4, 4, 1, act, excite), _Inverted(kit, 4, 6, 2, act, excite, 5), _Inverted(kit, 6, 6, 1, act)
        )
        self.last = nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), act())
        self.classifier, self.mean = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 4)), mean

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x)))
        x = x.mean([2, 3]) if self.mean else F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)
        return self.classifier(x)


@_family("mnasnet")
def mnasnet(kit: Kit) -> nn.Module:
    """Inverted residuals with ReLU, mean over the map."""
    return _Mobile(kit, lambda: kit_module(kit), excite=False, mean=True)


@_family("mobilenet_v2")
def mobilenet_v2(kit: Kit) -> nn.Module:
    """Inverted residuals with ReLU6."""
    return _Mobile(kit, kit.relu6, excite=False)


@_family("mobilenet_v3")
def mobilenet_v3(kit: Kit) -> nn.Module:
    """Hardswish and squeeze-excite: exact VJP between the ReLUs."""
    return _Mobile(kit, lambda: nn.Hardswish(inplace=True), excite=True)


@_family("efficientnet")
def efficientnet(kit: Kit) -> nn.Module:
    """SiLU and squeeze-excite."""
    return _Mobile(kit, lambda: nn.SiLU(inplace=True), excite=True)


class _RegNetBlock(nn.Module):
    def __init__(self, kit: Kit, c_in: int, c: int, stride: int, excite: bool):
        super().__init__()
        self.proj = _projection(c_in, c, stride)
        self.f = nn.Sequential(
            *(nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c), kit_module(kit)),
            *(nn.Conv2d(c, c, 3, stride, 1, groups=2, bias=False), nn.BatchNorm2d(c), kit_module(kit)),
            *((_Excite(kit, c),) if excite else ()),
            *(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)),
        )
        self.activation = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation((x if self.proj is None else self.proj(x)) + self.f(x))


def _regnet(kit: Kit, excite: bool) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), kit_module(kit))
    trunk = nn.Sequential(_RegNetBlock(kit, 4, 6, 2, excite), _RegNetBlock(kit, 6, 6, 1, excite))
    return nn.Sequential(stem, trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


add("regnet_x", lambda kit: _regnet(kit, False), kit=INPLACE_MODULES, notes="grouped bottlenecks", **_DEEP)
add("regnet_y", lambda kit: _regnet(kit, True), kit=INPLACE_MODULES, notes="with squeeze-excite", **_DEEP)


class _UNet(nn.Module):
    def __init__(self, kit: Kit):
        super().__init__()
        self.down1, self.down2 = self._double(kit, 3, 4), self._double(kit, 4, 6)
        self.pool, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.merge, self.out = self._double(kit, 14, 4), nn.Conv2d(4, 3, 1)

    @staticmethod
    def _double(kit: Kit, c_in: int, c: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(c_in, c, 3, padding=1), nn.BatchNorm2d(c), kit_module(kit)),
            *(nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), kit_module(kit)),
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down1(x)
        deep = self.down2(self.pool(skip))
        return self.out(self.merge(torch.cat([skip, self.up(deep), self.smooth(deep)], 1)))


add(
    "u_net",
    _UNet,
    kit=INPLACE_MODULES,
    notes="skips, transposed convolution, maps as output",
    target=(1, 3, 4),
    tags="family",
    shape=(3, 8, 8),
)
