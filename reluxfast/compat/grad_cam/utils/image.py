"""Pictures: images into the model, maps onto images."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from reluxfast.compat.grad_cam.maps import scaled
from reluxfast.errors import InvalidInput

# OpenCV's number of this colour map.
COLORMAP_JET = 2


def preprocess_image(
    img: np.ndarray, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)
) -> Tensor:
    """(img - mean) / std per channel, as a batch of one.

    Args:
        img: (H, W, C) floating-point, or uint8, which is divided by 255; (H, W) is one channel.
        mean, std: one number per channel (or a single one for all).

    Returns:
        Tensor (1, C, H, W).
    """
    picture = isinstance(img, np.ndarray) and img.ndim in (2, 3)
    if not picture or (img.dtype.kind != "f" and img.dtype != np.uint8):
        given = f"{img.dtype} {img.shape}" if isinstance(img, np.ndarray) else type(img).__name__
        raise InvalidInput("img", "must be a floating-point or uint8 array (H, W, C)", given)
    x = torch.from_numpy(img.copy()).view(*img.shape[:2], -1).permute(2, 0, 1).contiguous()
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    centre, spread = (torch.tensor(v, dtype=x.dtype, device="cpu").view(-1, 1, 1) for v in (list(mean), list(std)))
    for name, v in (("mean", centre), ("std", spread)):
        if len(v) not in (1, len(x)):
            raise InvalidInput(name, f"must have one number per channel ({len(x)})", f"{len(v)} numbers")
    if bool((spread == 0).any()):
        raise InvalidInput("std", "must not be 0", std)
    return ((x - centre) / spread).unsqueeze(0)


def deprocess_image(img: np.ndarray) -> np.ndarray:
    """An array as a uint8 picture around grey; its standard deviation becomes a tenth of the range, the rest is cut."""
    centred = img - np.mean(img)
    unit = centred / (np.std(centred) + 1e-5)
    return np.uint8(np.clip(unit * 0.1 + 0.5, 0, 1) * 255)


def show_cam_on_image(
    img: np.ndarray,
    mask: np.ndarray,
    use_rgb: bool = False,
    colormap: int | np.ndarray = COLORMAP_JET,
    image_weight: float = 0.5,
) -> np.ndarray:
    """A map in colours over its image.

    Args:
        img: (H, W, 3), or (H, W, 1), floating-point in [0, 1].
        mask: map (H, W) in [0, 1].
        use_rgb: whether `img` is RGB; else it is BGR. The result is like it.
        colormap: an OpenCV colour map; any other than COLORMAP_JET needs OpenCV.
        image_weight: share of the image, in [0, 1].

    Returns:
        uint8 (H, W, 3), scaled so that its largest value is 255.

    Raises:
        InvalidInput: a value or a shape that does not fit.
    """
    img, mask = np.asarray(img), np.asarray(mask)
    if img.size == 0 or np.max(img) > 1:
        raise InvalidInput("img", "must be floating-point in [0, 1]", f"{img.dtype} up to {np.max(img, initial=0)}")
    if not 0 <= image_weight <= 1:
        raise InvalidInput("image_weight", "must lie in [0, 1]", image_weight)
    if mask.ndim != 2 or img.ndim != 3 or img.shape[:2] != mask.shape or img.shape[2] not in (1, 3):
        raise InvalidInput("mask", "must have shape (H, W) for an img (H, W, 3)", f"{mask.shape} for {img.shape}")
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise InvalidInput("mask", "must lie in [0, 1]", f"values from {mask.min()} to {mask.max()}")
    colours = _in_colours(np.uint8(255 * mask), colormap)
    heat = np.float32(colours[:, :, ::-1] if use_rgb else colours) / 255
    mixed = (1 - image_weight) * heat + image_weight * img
    return np.uint8(255 * (mixed / np.max(mixed)))


def scale_cam_image(cam: np.ndarray, target_size: Sequence[int] | None = None) -> np.ndarray:
    """Maps (N, H', W') or (N, D', H', W'), each scaled to [0, 1).

    Args:
        cam: the maps.
        target_size: (W, H) or (W, H, D) to resize them to.

    Returns:
        float32 (N, H, W) or (N, D, H, W).
    """
    size = None if target_size is None else tuple(target_size)[::-1]
    return scaled(torch.as_tensor(np.asarray(cam)), size).numpy()


def _in_colours(levels: np.ndarray, colormap: int | np.ndarray) -> np.ndarray:
    """uint8 (H, W) -> uint8 (H, W, 3), BGR."""
    if isinstance(colormap, int) and colormap == COLORMAP_JET:
        return _jet()[levels]
    return _opencv(colormap).applyColorMap(levels, colormap)


def _jet() -> np.ndarray:
    """(256, 3): three trapezoids, as in OpenCV's table to the last unit."""
    x = np.arange(256)[:, None]
    rising, falling = 4 * x + np.array([128, -128, -382]), np.array([638, 892, 1148]) - 4 * x
    table = np.clip(np.minimum(rising, falling), 0, 255)
    table[159, 0] = 1  # OpenCV's rounding
    return np.uint8(table)


def _opencv(colormap: object) -> ModuleType:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        rule = f"must be COLORMAP_JET ({COLORMAP_JET}) where OpenCV is not installed"
        raise InvalidInput("colormap", rule, colormap, "pip install opencv-python-headless") from error
