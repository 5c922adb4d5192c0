"""What all classes of the CAM family share: from an image to one map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reluxfast.captured import captured
from reluxfast.compat.grad_cam.errors import WrongType
from reluxfast.compat.grad_cam.maps import scaled
from reluxfast.compat.grad_cam.targets import Target, as_targets, seed_of
from reluxfast.errors import InvalidInput
from reluxfast.explainer import make_run
from reluxfast.methods.cam import activations, activations_and_gradients
from reluxfast.methods.cam_maps import projected
from reluxfast.methods.inputs import as_tuple
from reluxfast.methods.run import Run
from reluxfast.relevance.engine import numerics


@dataclass(frozen=True)
class Layer:
    """A target layer on some images.

    Attributes:
        name: the value that it returns.
        value: that value (N, ...).
        activation: A (N, C, *S): the value behind `reshape_transform`.
        gradient: of the targets by A, shaped like it; None where the class needs none.
    """

    name: str
    value: Tensor
    activation: Tensor
    gradient: Tensor | None

    @property
    def spatial(self) -> int:
        """Number of spatial dimensions."""
        return self.activation.dim() - 2


@dataclass(frozen=True)
class Call:
    """Images on their way to a map.

    Attributes:
        run: the request.
        targets: one callable per image; None: the largest class of each.
        output: output (N, ...) of the model, in the engine's dtype.
    """

    run: Run
    targets: list[Target] | None
    output: Tensor


@dataclass(frozen=True)
class Augmentation:
    """A variant of an image: flipped along dimension 3 (the width of an image) or not, times a factor."""

    flip: bool
    factor: float

    def augment_image(self, image: Tensor) -> Tensor:
        """The variant of images (N, C, *S)."""
        return (image.flip(3) if self.flip else image) * self.factor

    def deaugment_mask(self, mask: Tensor) -> Tensor:
        """A map (N, 1, *S) of the variant as one of the image."""
        return mask.flip(3) if self.flip else mask


class BaseCAM:
    """Base of the classes of this package; call one of them: `GradCAM(model, target_layers)(input_tensor, targets)`.

    Args:
        model: nn.Module, explained as if in eval mode and never modified.
        target_layers: modules of the model, or their paths ("layer4", or "relu#2" for the second call of a reused
            module). A list with at least one.
        reshape_transform: makes (N, C, *S) of what a layer returns, if that is none; also applied to the gradient.

    Attributes:
        outputs: output (N, ...) of the last call (with `aug_smooth`, for its last variant), detached.
        batch_size: evaluations at once, for the classes that need several.
        tta_transforms: the variants of the image that `aug_smooth` averages over; those of ttach can be assigned.

    What differs from pytorch-grad-cam: targets must be as many as images (there the rest of the batch is silently 0).
    Errors leave the `with` block. The model's mode, hooks and `.grad` are left alone. A target layer followed by an
    in-place ReLU is explained with its own output (there, on a CPU, with that of the ReLU). A target layer that is
    called several times is an error unless one call is named (there it is the first). Principal components have a sign:
    the largest value of a map is at least as large as its smallest is negative. Images that are not finite where the
    class looks at them get NaN.
    """

    batch_size = 16
    _needs_gradients = True

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module | str],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
    ):
        if not isinstance(model, nn.Module):
            raise WrongType("model", "must be an nn.Module", type(model).__name__)
        if isinstance(target_layers, str) or not isinstance(target_layers, Sequence):
            kind = type(target_layers).__name__
            raise WrongType("target_layers", "must be a list of layers", kind, "Use [layer], or list(layers)")
        if not target_layers:
            raise InvalidInput("target_layers", "must hold at least one layer", target_layers)
        self.model = model
        self.target_layers = target_layers
        self.reshape_transform = reshape_transform
        self.outputs: Tensor | None = None
        self.tta_transforms: Iterable[Any] = [Augmentation(f, k) for f in (False, True) for k in (0.9, 1, 1.1)]

    @property
    def device(self) -> torch.device | None:
        """Where the model is, and where inputs are moved; None for a model without parameters."""
        return next((p.device for p in self.model.parameters()), None)

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Sequence[Target] | None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        return_tensor: bool = False,
    ) -> np.ndarray | Tensor:
        """Explains images.

        Args:
            input_tensor: images (N, C, H, W) or volumes (N, C, D, H, W), floating-point; moved to the model's device.
            targets: one callable per image, which makes a number of that image's output, as those of
                `.utils.model_targets`; None: the largest class of each image.
            aug_smooth: mean over six variants of each image, flipped or not and times 0.9, 1 and 1.1.
            eigen_smooth: first principal component over the channels instead of their sum.
            return_tensor: a Tensor on the model's device instead of an array. (Not in pytorch-grad-cam.)

        Returns:
            float32 (N, H, W) or (N, D, H, W) in [0, 1).

        Raises:
            InvalidInput, UnsupportedNode.
        """
        if aug_smooth:
            cam = self._smoothed(input_tensor, targets, eigen_smooth)
        else:
            cam = self._explained(input_tensor, targets, eigen_smooth)
        return cam if return_tensor else cam.cpu().numpy()

    def forward(self, input_tensor: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool = False) -> np.ndarray:
        """As a call without `aug_smooth`."""
        return self(input_tensor, targets, eigen_smooth=eigen_smooth)

    def __enter__(self) -> BaseCAM:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        """What each channel adds to the map of a layer: (N, C, *S)."""
        raise NotImplementedError(f"{type(self).__name__} has no weights of channels; use one of the classes derived")

    def _map(self, parts: Tensor, spatial: int, eigen_smooth: bool) -> Tensor:
        return projected(parts, spatial) if eigen_smooth else parts.sum(1)

    def _smoothed(self, x: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool) -> Tensor:
        x, total, count = self._input(x), 0, 0
        for transform in self.tta_transforms:
            cam = self._explained(transform.augment_image(x), targets, eigen_smooth)
            total, count = total + transform.deaugment_mask(cam.unsqueeze(1)).squeeze(1), count + 1
        return total / count

    def _explained(self, x: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool) -> Tensor:
        x = self._input(x)
        chosen = as_targets(targets, len(x))
        known = captured(self.model, (x,))
        run = make_run(known, [x.to(known.dtype)], None, seed=seed_of(chosen))
        names = [run.layer(layer, "target_layers") for layer in self.target_layers]
        with numerics(x.device):
            gradients: dict[str, Tensor] = {}
            if self._needs_gradients:
                output, values, gradients = activations_and_gradients(run, names)
            else:
                output, values = activations(run, names)
            self.outputs = output.to(x.dtype)
            call, maps = Call(run, chosen, output), []
            for name in names:
                layer = self._layer(name, values[name], gradients.get(name), x)
                cam = self._map(self._parts(layer, call), layer.spatial, eigen_smooth)
                maps.append(scaled(cam.relu(), tuple(x.shape[2:])))
            return scaled(torch.stack(maps).relu().mean(0))

    def _input(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            raise InvalidInput("input_tensor", "must be a Tensor", type(x).__name__)
        as_tuple(x, "input_tensor")
        if x.dim() not in (4, 5) or not len(x):
            rule = "must hold at least one image (N, C, H, W) or volume (N, C, D, H, W)"
            raise InvalidInput("input_tensor", rule, tuple(x.shape), "For series use reluxfast.grad_cam")
        with torch.inference_mode(False):
            x = x.clone() if x.is_inference() else x.detach()
            return x.to(self.device or x.device)

    def _layer(self, name: str, value: Tensor, gradient: Tensor | None, x: Tensor) -> Layer:
        reshaped = self.reshape_transform or (lambda v: v)
        activation = reshaped(value)
        if activation.dim() != x.dim():
            raise InvalidInput(
                "target_layers",
                f"must return maps (N, C, *S) with the {x.dim() - 2} spatial dimensions of the input",
                tuple(activation.shape),
                "Choose another layer, or make such maps with reshape_transform",
            )
        return Layer(name, value, activation, None if gradient is None else reshaped(gradient))
