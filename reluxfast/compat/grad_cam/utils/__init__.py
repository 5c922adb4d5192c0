"""Pictures and targets, under the names that pytorch-grad-cam gives them."""

from reluxfast.compat.grad_cam.utils import find_layers, model_targets, reshape_transforms
from reluxfast.compat.grad_cam.utils.image import deprocess_image

__all__ = ["deprocess_image", "find_layers", "model_targets", "reshape_transforms"]
