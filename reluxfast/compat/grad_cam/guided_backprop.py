"""Guided backpropagation as pytorch-grad-cam offers it, for whole batches and every spelling of a ReLU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from reluxfast.compat.grad_cam.errors import WrongType
from reluxfast.compat.grad_cam.inputs import as_images, known_for
from reluxfast.compat.grad_cam.targets import as_targets, seed_of
from reluxfast.compat.grad_cam.utils.model_targets import ClassifierOutputTarget
from reluxfast.errors import InvalidInput
from reluxfast.explainer import attribute_captured


class GuidedBackpropReLUModel:
    """Guided backpropagation of one class: `GuidedBackpropReLUModel(model)(image, target_category)`.

    Args:
        model: nn.Module, explained as if in eval mode and never modified.
        device: where the model is; None: looked up. It is not moved.

    What differs from pytorch-grad-cam: a batch is explained whole (there image 0 alone), ReLU6 is a ReLU as well, and
    nothing is left behind on model or input, so that a second call returns the same again.
    """

    def __init__(self, model: nn.Module, device: torch.device | str | None = None):
        if not isinstance(model, nn.Module):
            raise WrongType("model", "must be an nn.Module", type(model).__name__)
        own = next((p.device for p in model.parameters()), None)
        wanted = own if device is None else torch.device(device)
        if own is not None and (wanted.type != own.type or wanted.index not in (None, own.index)):
            raise InvalidInput("device", f"must be {own}, where the model is", device, "Move the model yourself")
        self.model = model
        self.device = own or wanted

    def forward(self, input_img: Tensor) -> Tensor:
        """Output of the model."""
        return self.model(input_img)

    def __call__(
        self, input_img: Tensor, target_category: int | None = None, *, return_tensor: bool = False
    ) -> np.ndarray | Tensor:
        """Explains images.

        Args:
            input_img: images (N, C, H, W), moved to the model's device.
            target_category: class of every image; None: the largest of each.
            return_tensor: a Tensor on the model's device instead of an array. (Not in pytorch-grad-cam.)

        Returns:
            (H, W, C) for one image, (N, H, W, C) for several, in the input's dtype.

        Raises:
            InvalidInput, UnsupportedNode.
        """
        x = as_images(input_img, "input_img", (4,), self.device)
        targets = None if target_category is None else [ClassifierOutputTarget(target_category)] * len(x)
        seed = seed_of(as_targets(targets, len(x)))
        values = attribute_captured(known_for(self.model, x), x, None, "guided_backprop", {}, seed=seed).values
        values = values.permute(0, 2, 3, 1)
        values = values[0] if len(values) == 1 else values
        return values if return_tensor else values.cpu().numpy()
