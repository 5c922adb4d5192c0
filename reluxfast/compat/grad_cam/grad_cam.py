"""Grad-CAM, under the module name that pytorch-grad-cam gives it."""

from reluxfast.compat.grad_cam.cams import GradCAM

__all__ = ["GradCAM"]
