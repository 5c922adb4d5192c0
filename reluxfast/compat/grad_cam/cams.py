"""The classes whose channels are weighted by a formula in activations and gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from reluxfast.compat.grad_cam.base_cam import BaseCAM
from reluxfast.compat.grad_cam.overrides import overrides
from reluxfast.compat.grad_cam.requests import Call, Layer
from reluxfast.compat.grad_cam.targets import Target
from reluxfast.methods import cam_maps


class _FormulaCAM(BaseCAM):
    _formula = staticmethod(cam_maps.grad)

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module | str,
        targets: list[Target],
        activations: np.ndarray,
        grads: np.ndarray | None,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """As in `BaseCAM`."""
        if overrides(self, "get_cam_weights"):
            return super().get_cam_image(input_tensor, target_layer, targets, activations, grads, eigen_smooth)
        spatial = activations.ndim - 2
        gradient = None if grads is None else torch.as_tensor(grads)
        return self._map(self._formula(torch.as_tensor(activations), gradient, spatial), spatial, eigen_smooth).numpy()

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        return self._formula(layer.activation, layer.gradient, layer.spatial)


class GradCAM(_FormulaCAM):
    """Grad-CAM: channels weighted by the mean of their gradient."""

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module | str,
        targets: list[Target],
        activations: np.ndarray,
        grads: np.ndarray,
    ) -> np.ndarray:
        """The mean (N, C) of the gradient, for classes that derive from this one. Args: as in `BaseCAM`."""
        return grads.mean(tuple(range(2, grads.ndim)))


class GradCAMPlusPlus(_FormulaCAM):
    """Grad-CAM++: channels weighted by a weighted mean of their positive gradient."""

    _formula = staticmethod(cam_maps.plus_plus)


class XGradCAM(_FormulaCAM):
    """XGrad-CAM: channels weighted by the mean of their gradient, weighted by the activation."""

    _formula = staticmethod(cam_maps.xgrad)


class HiResCAM(_FormulaCAM):
    """HiResCAM: gradient times activation."""

    _has_weights = False
    _formula = staticmethod(cam_maps.hires)


class LayerCAM(_FormulaCAM):
    """LayerCAM: positive gradient times activation."""

    _has_weights = False
    _formula = staticmethod(cam_maps.layer)


class GradCAMElementWise(_FormulaCAM):
    """The positive part of gradient times activation."""

    _has_weights = False
    _formula = staticmethod(cam_maps.elementwise)


class EigenGradCAM(HiResCAM):
    """First principal component of gradient times activation."""

    def _map(self, parts: Tensor, spatial: int, eigen_smooth: bool) -> Tensor:
        return cam_maps.projected(parts, spatial)


class EigenCAM(EigenGradCAM):
    """First principal component of the activations; targets do not matter."""

    _needs_gradients = False
    _formula = staticmethod(lambda activation, gradient, spatial: activation)
