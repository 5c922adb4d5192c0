"""From attribution values to what is drawn: one signed number per position, and the scale it is coloured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reluxfast.errors import InvalidInput

SIGNED, SEQUENTIAL = "RdBu_r", "Reds"
_UNITS = {
    "lrp": "logits",
    "input_x_gradient": "logits",
    "integrated_gradients": "logits",
    "deep_lift": "logits",
    "expected_gradients": "logits",
    "grad_cam": "class activation",
    "guided_backprop": "modified gradient",
    "deconvnet": "modified gradient",
    "guided_grad_cam": "modified gradient × activation",
    "shapley": "share of the output",
    "kernel_shap": "share of the output",
    "lime": "effect on the output",
    "feature_ablation": "effect on the output",
    "occlusion": "effect on the output",
    "rise": "mean output where seen",
}


@dataclass(frozen=True)
class Scale:
    """Colour map and its range; `low` is `-high` for signed maps and 0 for maps without a negative value."""

    colours: str
    low: float
    high: float


def as_array(values) -> np.ndarray:
    """A Tensor or array as float64 numpy array on the CPU."""
    if hasattr(values, "detach"):
        values = values.detach().to("cpu").double().numpy()
    return np.asarray(values, dtype=np.float64)


def position_map(item: np.ndarray) -> np.ndarray:
    """Sum the channels, keeping the sign.

    `(C, H, W)` gives `(H, W)` and `(C, L)` gives `(L,)`; of a volume `(C, D, H, W)` the slice of D with the largest
    sum of absolute values is taken.
    """
    summed = item.sum(0)
    if summed.ndim == 3:
        summed = summed[strongest_slice(item)]
    return summed


def strongest_slice(item: np.ndarray) -> int:
    """Index along D of `(C, D, H, W)` at which the absolute values, channels summed, are largest in sum."""
    return int(np.abs(item.sum(0)).sum((1, 2)).argmax())


def block_sums(heat: np.ndarray, block: int) -> np.ndarray:
    """Sums over `block x block` positions of `(H, W)`, smaller at the end where block does not divide; total kept."""
    rows, columns = np.arange(0, heat.shape[0], block), np.arange(0, heat.shape[1], block)
    return np.add.reduceat(np.add.reduceat(heat, rows, axis=0), columns, axis=1)


def grey(image: np.ndarray) -> np.ndarray:
    """`(C, H, W)` of 1, 3 or any number of channels as `(H, W)` in [0, 1], black to white over its own range."""
    mean = position_map(image) / len(image)
    low, high = np.nanmin(mean), np.nanmax(mean)
    return np.zeros_like(mean) if high <= low else (mean - low) / (high - low)


def colour(image: np.ndarray) -> np.ndarray:
    """`(1 | 3, H, W)` as `(H, W, 3)` for display; values outside [0, 1] are brought there by one affine map."""
    if len(image) != 3:
        return np.repeat(grey(image)[..., None], 3, axis=2)
    low, high = min(image.min(), 0.0), max(image.max(), 1.0)
    return ((image - low) / (high - low)).transpose(1, 2, 0)


def common_scale(maps: Sequence[np.ndarray], clip: float = 99.0) -> Scale:
    """One scale for several maps: range from the `clip`-th percentile of all absolute values.

    Raises:
        InvalidInput: `clip` is not in (0, 100].
    """
    if not 0 < clip <= 100:
        raise InvalidInput("clip", "must be a percentile in (0, 100]", clip)
    joined = np.concatenate([m.ravel() for m in maps]) if maps else np.zeros(1)
    joined = joined[np.isfinite(joined)]
    size = np.abs(joined)
    high = float(np.percentile(size, clip)) if size.size else 0.0
    if high == 0.0:
        high = float(size.max()) if size.size and size.max() > 0 else 1.0
    one_sided = joined.size > 0 and joined.min() >= 0 and joined.max() > 0
    return Scale(SEQUENTIAL, 0.0, high) if one_sided else Scale(SIGNED, -high, high)


def unit(method: str) -> str:
    """What the colour bar measures."""
    return _UNITS.get(method, "logits per unit of input")
