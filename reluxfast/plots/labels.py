"""Words on figures: method, target, logit and sum of one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reluxfast.methods.targets import flat_targets
from reluxfast.plots.maps import as_array

_NAMES = {
    "gradient": "Gradient",
    "input_x_gradient": "Input × gradient",
    "guided_backprop": "Guided backprop",
    "deconvnet": "DeconvNet",
    "lrp": "LRP",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "integrated_gradients": "Integrated gradients",
    "deep_lift": "DeepLIFT",
    "smooth_grad": "SmoothGrad",
    "expected_gradients": "Expected gradients",
    "shapley": "Shapley values",
    "kernel_shap": "KernelSHAP",
    "lime": "LIME",
    "feature_ablation": "Feature ablation",
    "occlusion": "Occlusion",
    "rise": "RISE",
}


def shown_name(method: str) -> str:
    """The method's usual name, for titles."""
    return _NAMES.get(method, method.replace("_", " "))


def row_target(attribution, row: int) -> int | tuple[int, ...] | str | None:
    """The target of one row: int, tuple of ints, "all", or None where the model has one output per row."""
    if attribution.target is None:
        return None
    shape = tuple(attribution.output.shape)
    flat = flat_targets(attribution.target, shape, shape[0])
    if flat is None:
        return "all"
    index = tuple(int(part) for part in np.unravel_index(int(flat[row]), shape[1:]))
    return index[0] if len(index) == 1 else index


def row_logit(attribution, row: int, label: int | None = None) -> float | None:
    """The explained output of one row; None where `target="all"` and no `label` says which."""
    output = as_array(attribution.output)[row]
    target = row_target(attribution, row) if label is None else label
    if target is None:
        return float(output.ravel()[0])
    return None if target == "all" else float(output[target])


def panel_title(attribution, row: int, label: int | None, total: float, classes: Sequence[str] | None) -> str:
    """Method and target on the first line, logit and sum of the values on the second."""
    target = row_target(attribution, row) if label is None else label
    parts = [shown_name(attribution.method)]
    if target is not None:
        parts.append(f"target {classes[target] if classes is not None and isinstance(target, int) else target}")
    logit = row_logit(attribution, row, label)
    second = [f"logit {logit:.3g}"] if logit is not None else []
    second.append(f"sum of values {total:.3g}")
    return "\n".join([", ".join(parts), minus(", ".join(second))])


def standing(attribution, row: int, classes: Sequence[str] | None) -> list[str]:
    """Which class is explained and how the model rates it: its logit, or with the names of the classes its softmax
    probability and its rank, and the first class where that is another one."""
    target, logit = row_target(attribution, row), row_logit(attribution, row)
    if classes is None or not isinstance(target, int):
        return [] if logit is None else [minus(f"logit {logit:.1f}")]
    output = as_array(attribution.output)[row]
    share = 1 / np.exp(output - logit).sum()
    rank, best = 1 + int((output > logit).sum()), int(output.argmax())
    lines = [f"why “{classes[target]}”?", f"p = {share:.0%}, rank {rank} of {len(output)}"]
    return lines if best == target else [*lines, f"(says “{classes[best]}”)"]


def minus(text: str) -> str:
    """Hyphens of negative numbers as minus signs."""
    return text.replace("-", "−")
