"""pytorch-grad-cam's classes on this engine: change the import, keep the code.

`from reluxfast.compat.grad_cam import GradCAM` in the place of `from pytorch_grad_cam import GradCAM`, and likewise
every module of a class, `.utils.image`, `.utils.model_targets`, `.utils.reshape_transforms` and `.utils.find_layers`.
pytorch-grad-cam need not be installed. What differs on purpose stands at `BaseCAM` and at each class.
"""

from reluxfast.compat.grad_cam.ablation_cam import AblationCAM
from reluxfast.compat.grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from reluxfast.compat.grad_cam.base_cam import BaseCAM
from reluxfast.compat.grad_cam.cams import (
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from reluxfast.compat.grad_cam.guided_backprop import GuidedBackpropReLUModel
from reluxfast.compat.grad_cam.score_cam import ScoreCAM
from reluxfast.compat.grad_cam.utils.image import show_cam_on_image
from reluxfast.compat.grad_cam.utils.model_targets import ClassifierOutputTarget

__all__ = [
    "AblationCAM",
    "AblationLayer",
    "AblationLayerVit",
    "BaseCAM",
    "ClassifierOutputTarget",
    "EigenCAM",
    "EigenGradCAM",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "GuidedBackpropReLUModel",
    "HiResCAM",
    "LayerCAM",
    "ScoreCAM",
    "XGradCAM",
    "show_cam_on_image",
]
