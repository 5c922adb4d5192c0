"""Attribution methods, one short function each."""

from __future__ import annotations

from collections.abc import Callable

from reluxfast.coalitions.estimate import Estimate
from reluxfast.methods.ablation import feature_ablation, occlusion
from reluxfast.methods.cam import grad_cam, guided_grad_cam
from reluxfast.methods.deep_lift import deep_lift
from reluxfast.methods.expected_gradients import expected_gradients
from reluxfast.methods.gradient import deconvnet, gradient, guided_backprop, input_x_gradient
from reluxfast.methods.kernel_shap import kernel_shap
from reluxfast.methods.lime import lime
from reluxfast.methods.lrp import lrp
from reluxfast.methods.noise import smooth_grad
from reluxfast.methods.path import integrated_gradients
from reluxfast.methods.rise import rise
from reluxfast.methods.run import Outcome
from reluxfast.methods.shapley import shapley

METHODS: dict[str, Callable[..., Outcome]] = {
    "gradient": gradient,
    "input_x_gradient": input_x_gradient,
    "guided_backprop": guided_backprop,
    "deconvnet": deconvnet,
    "lrp": lrp,
    "grad_cam": grad_cam,
    "guided_grad_cam": guided_grad_cam,
    "integrated_gradients": integrated_gradients,
    "deep_lift": deep_lift,
    "smooth_grad": smooth_grad,
    "expected_gradients": expected_gradients,
}

# Methods that ask for outputs alone, so that any function of a batch can be explained.
COALITION_METHODS: dict[str, Callable[..., Estimate]] = {
    "shapley": shapley,
    "kernel_shap": kernel_shap,
    "lime": lime,
    "feature_ablation": feature_ablation,
    "occlusion": occlusion,
    "rise": rise,
}
# Of them, those that answer for each element of a row, so that there are no players.
ELEMENT_METHODS = ("occlusion", "rise")
