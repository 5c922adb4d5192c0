"""Eigen-Grad-CAM, under the module name that pytorch-grad-cam gives it."""

from reluxfast.compat.grad_cam.cams import EigenGradCAM

__all__ = ["EigenGradCAM"]
