"""Attribution methods, one short function each."""

from __future__ import annotations

from collections.abc import Callable

from reluxfast.methods.cam import grad_cam, guided_grad_cam
from reluxfast.methods.gradient import deconvnet, gradient, guided_backprop, input_x_gradient
from reluxfast.methods.lrp import lrp
from reluxfast.methods.noise import smooth_grad
from reluxfast.methods.path import integrated_gradients
from reluxfast.methods.run import Outcome

METHODS: dict[str, Callable[..., Outcome]] = {
    "gradient": gradient,
    "input_x_gradient": input_x_gradient,
    "guided_backprop": guided_backprop,
    "deconvnet": deconvnet,
    "lrp": lrp,
    "grad_cam": grad_cam,
    "guided_grad_cam": guided_grad_cam,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
}
