"""Players of images: square patches, or superpixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from reluxfast.errors import InvalidInput
from reluxfast.extras import need


@runtime_checkable
class PlayerMap(Protocol):
    """Something that names the player of each element of images."""

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """Names for x (N, C, *S): int64 (1, 1, *S) for all rows, or (N, 1, *S) for each its own."""


@dataclass(frozen=True)
class Patches:
    """Patches of a grid; see `patches`."""

    size: tuple[int, ...]

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """See `PlayerMap`."""
        spatial = _spatial(x, "patches")
        sizes = self.size * len(spatial) if len(self.size) == 1 else self.size
        if len(sizes) != len(spatial):
            raise InvalidInput("players", f"needs a patch size for each of {len(spatial)} dimensions", self.size)
        label = torch.zeros((), dtype=torch.int64, device=x.device)
        for axis, (length, size) in enumerate(zip(spatial, sizes, strict=True)):
            cell = torch.arange(length, device=x.device) // size
            label = label * (-(-length // size)) + cell.view(-1, *[1] * (len(spatial) - 1 - axis))
        return label.view(1, 1, *spatial)


@dataclass(frozen=True)
class Superpixels:
    """Regions of alike pixels, for each image its own; see `superpixels`."""

    n_segments: int
    compactness: float

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """See `PlayerMap`."""
        slic = need("skimage.segmentation", "scikit-image", "demo", "superpixels").slic
        spatial = _spatial(x, "superpixels")
        if len(spatial) != 2:
            raise InvalidInput("x", "must hold images (N, C, H, W) for superpixels", tuple(x.shape))
        if not bool(x.isfinite().all()):
            raise InvalidInput("x", "must be finite for superpixels", "NaN or infinity")
        # SLIC scales each image to [0, 1] itself, and takes three channels to Lab colours.
        how = {"n_segments": self.n_segments, "compactness": self.compactness, "start_label": 0, "channel_axis": 0}
        found = [slic(image, **how) for image in x.detach().cpu().double().numpy()]
        return torch.from_numpy(np.array(found, dtype=np.int64).reshape(len(x), 1, *spatial)).to(x.device)


def patches(size: int | tuple[int, ...]) -> Patches:
    """Players of images: patches of a grid, those at the far borders cut.

    Args:
        size: side of a patch in pixels, or one for each spatial dimension.
    """
    sizes = tuple(size) if isinstance(size, Sequence) else (size,)
    if not sizes or not all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) and s > 0 for s in sizes):
        raise InvalidInput("size", "must be a positive int, or one for each dimension", repr(size))
    return Patches(tuple(int(s) for s in sizes))


def superpixels(n_segments: int = 50, compactness: float = 10.0) -> Superpixels:
    """Players of images: superpixels of each image by SLIC (Achanta et al. 2012; needs scikit-image).

    Args:
        n_segments: about how many.
        compactness: weight of nearness against likeness of colour; three channels are taken as RGB.
    """
    if not isinstance(n_segments, (int, np.integer)) or isinstance(n_segments, bool) or n_segments < 1:
        raise InvalidInput("n_segments", "must be a positive int", repr(n_segments))
    if not isinstance(compactness, (int, float)) or isinstance(compactness, bool) or not compactness > 0:
        raise InvalidInput("compactness", "must be a number above 0", repr(compactness))
    return Superpixels(int(n_segments), float(compactness))


def _spatial(x: torch.Tensor, what: str) -> tuple[int, ...]:
    if x.dim() < 3:
        raise InvalidInput("x", f"must hold images (N, C, ...) for {what}", tuple(x.shape))
    return tuple(x.shape[2:])


def spread(values: torch.Tensor, players: torch.Tensor, shared: bool = False) -> torch.Tensor:
    """Values of players on the elements they own.

    Args:
        values: (N, ..., n), players in ascending order of their names.
        players: integers (1, *row), the same for all rows, or (N, *row): the player of each element.
        shared: whether elements share their player's value equally, so that sums stay; otherwise each gets it whole.

    Returns:
        (N, ..., *row).
    """
    found = []
    for row, names in zip(values, players.expand(len(values), *players.shape[1:]), strict=True):
        _, index, counts = names.to(row.device).unique(return_inverse=True, return_counts=True)
        own = row[..., : len(counts)] / counts if shared else row
        found.append(own[..., index.flatten()].unflatten(-1, names.shape))
    return torch.stack(found) if found else values.new_zeros(*values.shape[:-1], *players.shape[1:])


def means(x: torch.Tensor, players: torch.Tensor, count: int) -> torch.Tensor:
    """Means (N, count) of the elements of x (N, *row) that each player owns, NaN behind the last; see `spread`."""
    found = x.new_full((len(x), count), torch.nan)
    for row, own, names in zip(x, found, players.expand(len(x), *players.shape[1:]), strict=True):
        _, index, counts = names.to(x.device).unique(return_inverse=True, return_counts=True)
        own[: len(counts)] = (
            torch.zeros_like(counts, dtype=x.dtype).index_add_(0, index.flatten(), row.flatten()) / counts
        )
    return found
