"""The networks that are explained: VGG-16, ResNet-18, ResNet-50, a digits CNN and a plain stack of convolutions.

Layers, module names and shapes are those of the usual ImageNet definitions (Simonyan & Zisserman 2015, configuration D;
He et al. 2016, with the stride of a bottleneck in its 3x3 convolution), so that a state dict of such a model fits.
No weights are downloaded: `trained_like_` draws them and calibrates them, so that activations and logits are O(1).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluxfast.benchmarks.maps.weights import images, trained_like_
from reluxfast.errors import InvalidInput

VGG16_PLAN = (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M")


class FunctionalReLU(nn.Module):
    """ReLU as a model that calls `F.relu` has it: the same function, invisible to hooks on `nn.ReLU`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


def _relu(functional: bool) -> nn.Module:
    return FunctionalReLU() if functional else nn.ReLU(inplace=True)


class VGG16(nn.Module):
    """VGG-16 without batch normalisation: (N, 3, H, W) -> (N, n_classes), H and W at least 32."""

    def __init__(self, n_classes: int = 1000, width: int = 64, functional: bool = False):
        super().__init__()
        layers: list[nn.Module] = []
        c_in = 3
        for entry in VGG16_PLAN:
            if entry == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(c_in, entry * width, 3, padding=1), _relu(functional)]
            c_in = entry * width
        hidden = 64 * width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(c_in * 7 * 7, hidden),
            _relu(functional),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            _relu(functional),
            nn.Dropout(),
            nn.Linear(hidden, n_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet-18, -34)."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, functional: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = _relu(functional)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(c_in, width * self.expansion, stride)
        self.add = operator.iadd

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(self.add(out, identity))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions around a shortcut (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int, functional: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = _relu(functional)
        self.downsample = _downsample(c_in, width * self.expansion, stride)
        self.add = operator.iadd

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(self.add(out, identity))


def set_additions(model: nn.Module, make: Callable[[], nn.Module]) -> int:
    """Let modules add in the residual blocks, as hooks on modules need it; in place. Returns how many there are."""
    blocks = [block for block in model.modules() if isinstance(block, (BasicBlock, Bottleneck))]
    for block in blocks:
        block.add = make()
    return len(blocks)


def _downsample(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


class ResNet(nn.Module):
    """Residual network: (N, 3, H, W) -> (N, n_classes)."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        counts: tuple[int, int, int, int],
        n_classes: int = 1000,
        width: int = 64,
        functional: bool = False,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = _relu(functional)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        c_in = width
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(c_in, width << stage, stride, functional))
                c_in = (width << stage) * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(c_in, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class DigitsCNN(nn.Module):
    """A small CNN for 8x8 digit images: (N, 1, H, W) -> (N, n_classes), H and W multiples of 4."""

    def __init__(self, n_classes: int = 10, width: int = 16, functional: bool = False):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            _relu(functional),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            _relu(functional),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            _relu(functional),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(16 * width, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Stack(nn.Module):
    """Convolutions 3x3 of one width, each with a ReLU: (N, 3, H, W) -> (N, n_classes), H and W at least 2."""

    def __init__(self, depth: int = 8, n_classes: int = 10, width: int = 32, functional: bool = False):
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Conv2d(width if i else 3, width, 3, padding=1), _relu(functional)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(4 * width, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def mlp(n_inputs: int = 30, hidden: tuple[int, ...] = (128, 64), n_classes: int = 10) -> nn.Sequential:
    """A small multi-layer perceptron with ReLU modules: (N, n_inputs) -> (N, n_classes)."""
    sizes = (n_inputs, *hidden)
    layers: list[nn.Module] = []
    for c_in, c_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(c_in, c_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))


def vgg16(**options: int | bool) -> VGG16:
    """VGG-16; options: n_classes, width (64), functional."""
    return VGG16(**options)


def resnet18(**options: int | bool) -> ResNet:
    """ResNet-18; options: n_classes, width (64), functional."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


def resnet50(**options: int | bool) -> ResNet:
    """ResNet-50; options: n_classes, width (64), functional."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


@dataclass(frozen=True, eq=False)
class Network:
    """A network of the benchmark.

    Attributes:
        name: "vgg16", ...
        build: (**options) -> the untrained network; every one takes n_classes, width and functional.
        channels, size: of its images, in pixels.
        tiny_size, tiny_options: of the small copy.
        layer: path of the module whose map Grad-CAM reads, the last one there is.
        least_size, multiple: what the sides of its images have to be.
    """

    name: str
    build: Callable[..., nn.Module]
    channels: int
    size: int
    tiny_size: int
    tiny_options: dict[str, int]
    layer: str
    least_size: int = 1
    multiple: int = 1

    def check_size(self, size: int) -> None:
        """Raises InvalidInput for images that its pools leave nothing of."""
        if size < self.least_size or size % self.multiple:
            rule = f"must be {self.least_size} or more" + (f", by {self.multiple}" if self.multiple > 1 else "")
            raise InvalidInput("size", f"{rule}, for {self.name}", size)


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("vgg16", vgg16, 3, 224, 32, {"width": 4, "n_classes": 10}, "features.29", 32),
        Network("resnet50", resnet50, 3, 224, 32, {"width": 4, "n_classes": 10}, "layer4", 2),
        Network("resnet18", resnet18, 3, 224, 32, {"width": 4, "n_classes": 10}, "layer4", 2),
        Network("digits", DigitsCNN, 1, 8, 8, {"width": 4}, "features.6", 4, 4),
        Network("stack", Stack, 3, 64, 16, {"width": 4}, "features", 2),
    )
}


def build_model(
    network: Network, size: int, *, tiny: bool = False, functional: bool = False, seed: int = 0, **options: int
) -> nn.Module:
    """The network with trained-like weights, float32, in eval mode, calibrated on images of `size` pixels."""
    options = {**(network.tiny_options if tiny else {}), **options}
    with torch.device("meta"):  # the default initialisation would draw every weight once for nothing
        model = network.build(functional=functional, **options)
    model.to_empty(device="cpu")
    n_images = max(2, 512 // size)  # deep maps of small images are one pixel: their spread needs many images
    return trained_like_(model, images(n_images, network.channels, size, seed + 1), seed)
