"""Arrays as Pillow images: a colour map for one channel, RGB for three, grids of several (needs Pillow)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reluxfast.compat.zennit.colours import palette
from reluxfast.compat.zennit.errors import WrongType
from reluxfast.extras import need

_CHANNELS = (1, 3)
Bound = float | np.ndarray | None


def imgify(
    obj: Any,
    vmin: Bound = None,
    vmax: Bound = None,
    cmap: str = "bwr",
    level: float = 1.0,
    symmetric: bool = False,
    grid: bool | Sequence[int] = False,
    gridfill: Any = None,
) -> Any:
    """A Pillow image of an array; unlike Zennit's, one of constant values is not divided by 0, but all black.

    Args:
        obj: array or Tensor (H, W), or with 1 or 3 channels in front or behind; with `grid` several along dimension 0.
        vmin, vmax: values that become 0 and 255; default the least and the greatest (of each, in a grid). uint8 arrays
            are taken as they are.
        cmap, level: of one channel, see `palette`.
        symmetric: whether vmax is the greatest absolute value, and vmin minus that, so that 0 stands in the middle.
        grid: True: as square as may be; or (rows, columns).
        gridfill: value of empty places; default the least of each channel.

    Returns:
        An image of mode P with 256 colours for one channel, RGB for three.

    Raises:
        TypeError: the array has other dimensions or channels.
        MissingExtra: Pillow is not installed.
    """
    array = _array(obj)
    if grid and not isinstance(grid, (bool, np.bool_)) and len(grid) != 2:
        raise WrongType("grid", "must be a bool or (rows, columns)", repr(grid))
    array = _channels_behind(array, 1 if grid else 0)
    if array.dtype != np.uint8:
        axes = tuple(range(1 if grid else 0, array.ndim))
        least, greatest = interval_norm_bounds(array, symmetric, axes)
        least = least if vmin is None else np.asarray(vmin)
        greatest = greatest if vmax is None else np.asarray(vmax)
        span = np.asarray(greatest - least)
        array = (array - least) / np.where(span == 0, 1, span)
        array = (array * 255).clip(0, 255).astype(np.uint8)
    if grid:
        array = gridify(array, None if isinstance(grid, (bool, np.bool_)) else grid, gridfill)
    image = need("PIL.Image", "pillow", "images", "imgify")
    if array.shape[-1] == 3:
        return image.fromarray(np.ascontiguousarray(array))
    made = image.fromarray(np.ascontiguousarray(array[..., 0]))
    made.putpalette(palette(cmap, level).tobytes())
    return made


def imsave(
    fp: Any,
    obj: Any,
    vmin: Bound = None,
    vmax: Bound = None,
    cmap: str = "bwr",
    level: float = 1.0,
    grid: bool | Sequence[int] = False,
    format: str | None = None,
    writer_params: dict[str, Any] | None = None,
    symmetric: bool = False,
    gridfill: Any = None,
) -> None:
    """Saves what `imgify` makes.

    Args:
        fp: path or open file.
        obj, vmin, vmax, cmap, level, grid, symmetric, gridfill: as for `imgify`.
        format: of the file; default by its name.
        writer_params: further arguments of Pillow's `save`.
    """
    made = imgify(obj, vmin, vmax, cmap, level, symmetric, grid, gridfill)
    made.save(fp, format=format, **(writer_params or {}))


def gridify(obj: Any, shape: Sequence[int] | None = None, fill_value: Any = None) -> np.ndarray:
    """Several images in one, row by row.

    Args:
        obj: (N, H, W), or with 1 or 3 channels in front of or behind the last two.
        shape: (rows, columns), which may hold fewer or more than N; default as square as may be.
        fill_value: of empty places; default the least value of each channel.

    Returns:
        (rows * H, columns * W, channels).
    """
    array = _channels_behind(_array(obj), 1)
    count, height, width, channels = array.shape
    if shape is None:
        columns = max(int(count**0.5), 1)
        shape = -(-count // columns), columns
    rows, columns = shape
    fill = array.min((0, 1, 2)) if fill_value is None else np.asarray(fill_value).astype(array.dtype)
    places = np.empty((rows * columns, height, width, channels), array.dtype)
    places[:] = fill
    places[:count] = array[: rows * columns]
    tiles = places.reshape(rows, columns, height, width, channels)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def interval_norm_bounds(
    input: np.ndarray, symmetric: bool = False, dim: tuple[int, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value over the axes `dim` (default: all but the first), which are kept with size 1.

    Args:
        input: the array.
        symmetric: whether they are minus and plus the greatest absolute value.
        dim: the axes.
    """
    axes = tuple(range(1, input.ndim)) if dim is None else dim
    if symmetric:
        greatest = np.abs(input).max(axes, keepdims=True)
        return -greatest, greatest
    return input.min(axes, keepdims=True), input.max(axes, keepdims=True)


def _array(obj: Any) -> np.ndarray:
    return obj.detach().cpu().numpy() if isinstance(obj, torch.Tensor) else np.asarray(obj)


def _channels_behind(array: np.ndarray, batch: int) -> np.ndarray:
    """(H, W, C), behind so many dimensions of a batch."""
    dims = array.ndim - batch
    if dims == 2:
        return array[..., None]
    if dims == 3 and array.shape[-1] in _CHANNELS:
        return array
    if dims == 3 and array.shape[batch] in _CHANNELS:
        return np.moveaxis(array, batch, -1)
    wanted = f"({'N, ' if batch else ''}H, W), with 1 or 3 channels in front or behind or none"
    raise WrongType("obj", f"must have the shape {wanted}", tuple(array.shape))
