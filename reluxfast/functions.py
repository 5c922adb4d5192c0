"""Each method as a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reluxfast.attribution import Attribution
from reluxfast.explainer import attribute
from reluxfast.methods import METHODS


def methods() -> list[str]:
    """Names of the attribution methods."""
    return list(METHODS)


def _function(name: str) -> Callable[..., Attribution]:
    def explain(model: Any, x: Any, target: Any = None, **options: Any) -> Attribution:
        return attribute(model, x, target, method=name, **options)

    explain.__name__ = explain.__qualname__ = name
    about = METHODS[name].__doc__ or ""
    explain.__doc__ = f"{about.rstrip()}\n\n    `model`, `x` and `target` are those of `reluxfast.attribute`.\n    "
    return explain


gradient = _function("gradient")
input_x_gradient = _function("input_x_gradient")
guided_backprop = _function("guided_backprop")
deconvnet = _function("deconvnet")
lrp = _function("lrp")
grad_cam = _function("grad_cam")
guided_grad_cam = _function("guided_grad_cam")
integrated_gradients = _function("integrated_gradients")
smooth_grad = _function("smooth_grad")
