"""The classes whose channels are weighted by a formula in activations and gradients."""

from __future__ import annotations

from torch import Tensor

from reluxfast.compat.grad_cam.base_cam import BaseCAM, Call, Layer
from reluxfast.methods import cam_maps


class _FormulaCAM(BaseCAM):
    _formula = staticmethod(cam_maps.grad)

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        return self._formula(layer.activation, layer.gradient, layer.spatial)


class GradCAM(_FormulaCAM):
    """Grad-CAM: channels weighted by the mean of their gradient."""


class GradCAMPlusPlus(_FormulaCAM):
    """Grad-CAM++: channels weighted by a weighted mean of their positive gradient."""

    _formula = staticmethod(cam_maps.plus_plus)


class XGradCAM(_FormulaCAM):
    """XGrad-CAM: channels weighted by the mean of their gradient, weighted by the activation."""

    _formula = staticmethod(cam_maps.xgrad)


class HiResCAM(_FormulaCAM):
    """HiResCAM: gradient times activation."""

    _formula = staticmethod(cam_maps.hires)


class LayerCAM(_FormulaCAM):
    """LayerCAM: positive gradient times activation."""

    _formula = staticmethod(cam_maps.layer)


class GradCAMElementWise(_FormulaCAM):
    """The positive part of gradient times activation."""

    _formula = staticmethod(cam_maps.elementwise)


class EigenGradCAM(HiResCAM):
    """First principal component of gradient times activation."""

    def _map(self, parts: Tensor, spatial: int, eigen_smooth: bool) -> Tensor:
        return cam_maps.projected(parts, spatial)


class EigenCAM(EigenGradCAM):
    """First principal component of the activations; targets do not matter."""

    _needs_gradients = False

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        return layer.activation
