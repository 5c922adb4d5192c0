"""Pictures and targets, under the names that pytorch-grad-cam gives them."""

from reluxfast.compat.grad_cam.utils import model_targets
from reluxfast.compat.grad_cam.utils.image import deprocess_image

__all__ = ["deprocess_image", "model_targets"]
