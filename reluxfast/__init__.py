"""Attributions of ReLU networks: fast, in little memory, and right where hooks are not.

import reluxfast as rx
result = rx.attribute(model, x, target=3, method="guided_backprop")
"""

from reluxfast import rules
from reluxfast.attribution import Attribution
from reluxfast.captured import refresh
from reluxfast.composites import Layer, composite, composites
from reluxfast.coverage import Coverage, coverage
from reluxfast.errors import BackendUnavailable, InvalidInput, ReluxfastError, UnsupportedNode
from reluxfast.explainer import Explainer, attribute
from reluxfast.functions import (
    deconvnet,
    deep_lift,
    expected_gradients,
    feature_ablation,
    grad_cam,
    gradient,
    guided_backprop,
    guided_grad_cam,
    input_x_gradient,
    integrated_gradients,
    kernel_shap,
    lime,
    lrp,
    methods,
    occlusion,
    rise,
    shapley,
    smooth_grad,
)
from reluxfast.info import Info, info
from reluxfast.merging import merge
from reluxfast.ops import backend
from reluxfast.player_maps import patches, superpixels
from reluxfast.validate import Report, ReportRow, validate

__version__ = "0.1.0"

__all__ = [
    "Attribution",
    "BackendUnavailable",
    "Coverage",
    "Explainer",
    "Info",
    "InvalidInput",
    "Layer",
    "ReluxfastError",
    "Report",
    "ReportRow",
    "UnsupportedNode",
    "attribute",
    "backend",
    "composite",
    "composites",
    "coverage",
    "deconvnet",
    "deep_lift",
    "expected_gradients",
    "feature_ablation",
    "grad_cam",
    "gradient",
    "guided_backprop",
    "guided_grad_cam",
    "info",
    "input_x_gradient",
    "integrated_gradients",
    "kernel_shap",
    "lime",
    "lrp",
    "merge",
    "methods",
    "occlusion",
    "patches",
    "refresh",
    "rise",
    "rules",
    "shapley",
    "smooth_grad",
    "superpixels",
    "validate",
]
