"""Words on figures: method, target, logit and sum of one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reluxfast.plots.maps import as_array

_NAMES = {
    "gradient": "Gradient",
    "input_x_gradient": "Input × gradient",
    "guided_backprop": "Guided backprop",
    "deconvnet": "DeconvNet",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "integrated_gradients": "Integrated gradients",
    "smooth_grad": "SmoothGrad",
}


def shown_name(method: str) -> str:
    """The method's usual name, for titles."""
    return _NAMES.get(method, method.replace("_", " "))


def row_target(target, row: int):
    """The target of one row: int, tuple of ints, or None for a model with one output per row."""
    if target is None or isinstance(target, (int, str)):
        return target
    if isinstance(target, tuple):
        return tuple(int(part) for part in target)
    chosen = target[row]
    return tuple(int(part) for part in chosen) if isinstance(chosen, (tuple, list)) else int(chosen)


def row_logit(attribution, row: int, label: int | None = None) -> float | None:
    """The explained output of one row, whether `output` holds it alone or with all other outputs."""
    output = as_array(attribution.output)[row]
    if output.ndim == 0:
        return float(output)
    target = row_target(attribution.target, row) if label is None else label
    if target is None or isinstance(target, str):
        return float(output.ravel()[0]) if output.size == 1 else None
    return float(output[target])


def panel_title(attribution, row: int, label: int | None, total: float, classes: Sequence[str] | None) -> str:
    """Method and target on the first line, logit and sum of the values on the second."""
    target = row_target(attribution.target, row) if label is None else label
    parts = [shown_name(attribution.method)]
    if target is not None:
        named = classes[target] if classes is not None and isinstance(target, (int, np.integer)) else target
        parts.append(f"target {named}")
    logit = row_logit(attribution, row, label)
    second = [f"logit {logit:.3g}"] if logit is not None else []
    second.append(f"Σφ {total:.3g}")
    return "\n".join([", ".join(parts), ", ".join(second).replace("-", "−")])
