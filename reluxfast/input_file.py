"""Read the inputs to explain from an image file or a `.npy` array; nothing is ever unpickled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reluxfast.errors import InvalidInput
from reluxfast.extras import need
from reluxfast.files import readable_file

FITS = ("squash", "crop")


def read_inputs(
    path: str | Path,
    shape: Sequence[int | None],
    dtype: torch.dtype = torch.float32,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fit: str = "squash",
) -> Tensor:
    """Inputs for a model, as a batch.

    Args:
        path: `.npy` with one row `(C, ...)` or a batch `(N, C, ...)` of floats, or an image file that Pillow reads.
        shape: the shape of one row that the model takes, `(C, ...)`, None where any size will do.
        dtype: floating dtype of the result.
        size: (height, width) that an image is resized to (bilinear, with a warning that says so); None: the model's own
            size where that is fixed.
        mean, std: per channel; the result is `(x - mean) / std`, for images after scaling to [0, 1].
        fit: what to do with an image of other proportions: "squash" keeps all of it and distorts it; "crop" keeps the
            proportions and cuts the longer side at both ends, as models are usually trained and evaluated.

    Returns:
        `(N, C, ...)` in `dtype`; an image is one row, grey for a model of 1 channel, else RGB.

    Raises:
        InvalidInput: no such file, unreadable file, integers or objects in an array, another shape than the model's.
        MissingExtra: Pillow is needed and not installed.
    """
    path = readable_file(path, "input")
    if fit not in FITS:
        raise InvalidInput("fit", f"must be one of {', '.join(FITS)}", repr(fit))
    if path.suffix.lower() == ".npz":
        remedy = "Save the array by itself: numpy.save('input.npy', archive['name'])"
        raise InvalidInput(
            f"input '{path}'", "must be one array in a .npy file, or an image", "an .npz archive", remedy
        )
    if path.suffix.lower() == ".npy":
        if size is not None:
            raise InvalidInput("size", "must be left out for arrays", size, "Resize the array before saving it")
        batch = _read_array(path, shape)
    else:
        batch = _read_image(path, shape, size, fit)
    wanted = "(N, " + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    fits = batch.ndim == len(shape) + 1
    if not fits or any(n is not None and n != m for n, m in zip(shape, batch.shape[1:], strict=True)):
        raise InvalidInput(f"input '{path}'", f"must have the shape {wanted} that the model takes", tuple(batch.shape))
    if not len(batch):
        raise InvalidInput(f"input '{path}'", "must hold at least one row", tuple(batch.shape))
    return _normalised(torch.from_numpy(np.ascontiguousarray(batch)).to(dtype), mean, std)


def _read_array(path: Path, shape: Sequence[int | None]) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        value = (str(error) or type(error).__name__).splitlines()[0]
        raise InvalidInput(f"array '{path}'", "must be a plain .npy of numbers", value) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        kind = getattr(array, "dtype", type(array).__name__)
        remedy = "Convert it: array.astype('float32'), and divide 8-bit pixels by 255 if the model was trained so"
        raise InvalidInput(f"array '{path}'", "must hold floating-point numbers", kind, remedy)
    # torch takes native byte order and at most 64 bits.
    array = array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="), copy=False)
    return array[None] if array.ndim == len(shape) else array


def _read_image(path: Path, shape: Sequence[int | None], size: tuple[int, int] | None, fit: str) -> np.ndarray:
    if len(shape) != 3 or shape[0] not in (1, 3, None):
        rule = "must be a .npy array for this model, which takes no image of 1 or 3 channels"
        raise InvalidInput(f"input '{path}'", rule, f"an image file and rows of shape {tuple(shape)}")
    pil = need("PIL.Image", "pillow", "images", "reading an image file")
    try:
        with pil.open(path) as opened:
            mode = opened.mode
            picture = opened.convert("L" if shape[0] == 1 else "RGB")
    except (pil.UnidentifiedImageError, pil.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        value, remedy = f"another or a broken file ({error})", "Convert it, or save its values as a float .npy array"
        raise InvalidInput(
            f"input '{path}'", "must be a .npy array or an image that Pillow reads", value, remedy
        ) from error
    if mode.startswith(("I", "F")):
        remedy = "Scale it to [0, 1] and save it as a float .npy array"
        raise InvalidInput(f"image '{path}'", "must have 8 bits per channel", f"mode {mode!r}", remedy)
    if size is None and shape[1] is not None and shape[2] is not None:
        size = (shape[1], shape[2])
    if size is not None and size != (picture.height, picture.width):
        picture = _resized(picture, size, fit, path)
    pixels = np.asarray(picture, dtype=np.float32) / 255
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))[None]


def _resized(picture, size: tuple[int, int], fit: str, path: Path):
    height, width = size
    note = f"'{path}' has {picture.height} x {picture.width} pixels and is resized to {height} x {width}"
    # Less than a pixel is rounding.
    distorted = abs(picture.width * height / picture.height - width) >= 1
    if distorted:
        crop = "its longer side being cut at both ends"
        note += f", {crop}" if fit == "crop" else ", which distorts it (fit 'crop' keeps its proportions)"
    warnings.warn(note, UserWarning, stacklevel=4)
    pillow = need("PIL.ImageOps", "pillow", "images", "reading an image file")
    if fit == "crop":
        return pillow.fit(picture, (width, height), pillow.Image.Resampling.BILINEAR)
    return picture.resize((width, height), pillow.Image.Resampling.BILINEAR)


def _normalised(x: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> Tensor:
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) not in (1, x.shape[1]):
            raise InvalidInput(name, f"must hold one number or one for each of the {x.shape[1]} channels", list(values))
    if std is not None and not all(value > 0 for value in std):
        raise InvalidInput("std", "must be positive", list(std))
    spread = (1, -1) + (1,) * (x.ndim - 2)
    if mean is not None:
        x = x - torch.tensor(mean, dtype=x.dtype).view(spread)
    return x if std is None else x / torch.tensor(std, dtype=x.dtype).view(spread)
