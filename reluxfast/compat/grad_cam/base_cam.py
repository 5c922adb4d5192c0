"""What all classes of the CAM family share: from an image to one map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reluxfast.compat.grad_cam.errors import NotHere, WrongType
from reluxfast.compat.grad_cam.inputs import as_images, known_for
from reluxfast.compat.grad_cam.maps import scaled
from reluxfast.compat.grad_cam.overrides import as_array, as_map, check_overrides, overrides, weighted
from reluxfast.compat.grad_cam.requests import Call, Layer
from reluxfast.compat.grad_cam.targets import Target, as_targets, fixed, seed_of
from reluxfast.errors import InvalidInput
from reluxfast.explainer import make_run
from reluxfast.methods.cam import activations, activations_and_gradients
from reluxfast.methods.cam_maps import projected
from reluxfast.relevance.engine import numerics


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
        uses_gradients: whether a class of your own is given gradients.
        tta_transforms: see below.
        compute_input_gradient, detach: only False and True, the defaults.

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

    Classes of your own may override `get_cam_weights`, `get_cam_image` or `forward`; other steps of a map are an error
    (`NotImplementedError`). Where they call the model themselves, it is in the mode that you left it in.
    """

    batch_size = 16
    _needs_gradients = True
    _has_weights = True

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module | str],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        compute_input_gradient: bool = False,
        uses_gradients: bool = True,
        tta_transforms: Iterable[Any] | None = None,
        detach: bool = True,
    ):
        if not isinstance(model, nn.Module):
            raise WrongType("model", "must be an nn.Module", type(model).__name__)
        if isinstance(target_layers, str) or not isinstance(target_layers, Sequence):
            kind = type(target_layers).__name__
            raise WrongType("target_layers", "must be a list of layers", kind, "Use [layer], or list(layers)")
        if not target_layers:
            raise InvalidInput("target_layers", "must hold at least one layer", target_layers)
        if compute_input_gradient or not detach:
            name = "compute_input_gradient=True" if compute_input_gradient else "detach=False"
            raise NotHere(f"{name} keeps autograd's graph of the model, which is not made here")
        check_overrides(self, self._has_weights)
        self.model = model
        self.target_layers = target_layers
        self.reshape_transform = reshape_transform
        self.uses_gradients = uses_gradients and self._needs_gradients
        self.outputs: Tensor | None = None
        variants = [Augmentation(flip, factor) for flip in (False, True) for factor in (0.9, 1, 1.1)]
        self.tta_transforms = variants if tta_transforms is None else tta_transforms

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
            cam = self._one(input_tensor, targets, eigen_smooth)
        return cam if return_tensor else cam.cpu().numpy()

    def forward(self, input_tensor: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool = False) -> np.ndarray:
        """As a call without `aug_smooth`."""
        return self._explained(input_tensor, targets, eigen_smooth).cpu().numpy()

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module | str,
        targets: list[Target],
        activations: np.ndarray,
        grads: np.ndarray | None,
    ) -> np.ndarray:
        """For classes of your own: the weight of each channel.

        Args:
            input_tensor: the images, on the model's device.
            target_layer: the entry of `target_layers`.
            targets: one callable per image.
            activations: (N, C, *S), behind `reshape_transform`, in float32 (float64 for such images).
            grads: gradient of the targets by them; None without `uses_gradients`.

        Returns:
            (N, C).
        """
        why = "has no get_cam_weights to call: its weights come from evaluations or are no numbers per channel"
        raise NotHere(f"{type(self).__name__} {why}; compute what you need from activations and grads")

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module | str,
        targets: list[Target],
        activations: np.ndarray,
        grads: np.ndarray | None,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """For classes of your own: the map (N, *S) of a layer, before it is scaled. Args: as for `get_cam_weights`."""
        weights = self.get_cam_weights(input_tensor, target_layer, targets, activations, grads)
        parts = weighted(weights, activations)
        return self._map(parts, parts.dim() - 2, eigen_smooth).numpy()

    @property
    def activations_and_grads(self) -> Any:
        """Not available: nothing is hooked."""
        raise NotHere("activations_and_grads holds hooks, and none are set here; override get_cam_weights instead")

    def __enter__(self) -> BaseCAM:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        """What each channel adds to the map of a layer: (N, C, *S)."""
        raise NotHere(f"{type(self).__name__} has no weights of channels; override get_cam_weights")

    def _map(self, parts: Tensor, spatial: int, eigen_smooth: bool) -> Tensor:
        return projected(parts, spatial) if eigen_smooth else parts.sum(1)

    def _smoothed(self, x: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool) -> Tensor:
        x, total, count = self._input(x), 0, 0
        for transform in self.tta_transforms:
            cam = self._one(transform.augment_image(x), targets, eigen_smooth)
            total, count = total + transform.deaugment_mask(cam.unsqueeze(1)).squeeze(1), count + 1
        return total / count

    def _one(self, x: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool) -> Tensor:
        """Without `aug_smooth`."""
        if overrides(self, "forward"):
            return torch.as_tensor(self.forward(x, targets, eigen_smooth))
        return self._explained(x, targets, eigen_smooth)

    def _explained(self, x: Tensor, targets: Sequence[Target] | None, eigen_smooth: bool) -> Tensor:
        x = self._input(x)
        chosen = as_targets(targets, len(x))
        known = known_for(self.model, x)
        run = make_run(known, [x.to(known.dtype)], None, seed=seed_of(chosen))
        names = [run.layer(layer, "target_layers") for layer in self.target_layers]
        with numerics(x.device):
            gradients: dict[str, Tensor] = {}
            if self.uses_gradients:
                output, values, gradients = activations_and_gradients(run, names)
            else:
                output, values = activations(run, names)
            self.outputs = output.to(x.dtype)
            call, maps = Call(run, chosen, output), []
            for name, module in zip(names, self.target_layers, strict=True):
                layer = self._layer(name, values[name], gradients.get(name), x)
                if overrides(self, "get_cam_image") or overrides(self, "get_cam_weights"):
                    cam = self._own(layer, call, x, module, eigen_smooth)
                else:
                    cam = self._map(self._parts(layer, call), layer.spatial, eigen_smooth)
                maps.append(scaled(cam.relu(), tuple(x.shape[2:])))
            return scaled(torch.stack(maps).relu().mean(0))

    def _own(self, layer: Layer, call: Call, x: Tensor, module: nn.Module | str, eigen_smooth: bool) -> Tensor:
        """Map (N, *S) by methods of the user's."""
        targets = fixed(call.targets, call.output)
        arrays = as_array(layer.activation), as_array(layer.gradient)
        return as_map(self.get_cam_image(x, module, targets, *arrays, eigen_smooth), layer.activation)

    def _input(self, x: Any) -> Tensor:
        return as_images(x, "input_tensor", (4, 5), self.device)

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
