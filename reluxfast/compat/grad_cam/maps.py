"""Maps scaled to [0, 1) and fitted to the image, on the device they are on."""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.methods.cam import resized


def scaled(maps: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
    """Maps (N, *S'), each as (c - min) / (1e-7 + max), in float32, of another spatial size if one is given."""
    space = tuple(range(1, maps.dim()))
    maps = maps - maps.amin(space, keepdim=True)
    maps = (maps / (1e-7 + maps.amax(space, keepdim=True))).float()
    return maps if size is None else fitted(maps, size)


def fitted(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (N, *S') of spatial size `size`: images bilinearly, volumes by cubic splines with corners on corners."""
    if len(size) < 3 or tuple(maps.shape[1:]) == tuple(size):
        return resized(maps, size)
    a, b, c = (_spline(n, m).to(maps.device) for n, m in zip(maps.shape[1:], size, strict=True))
    return torch.einsum("nijk,ai,bj,ck->nabc", maps.double(), a, b, c).float()


def _spline(n: int, m: int) -> Tensor:
    """(m, n) float64: values at m points from values at n, by the cubic spline through them that is mirrored at both
    ends."""
    if n == 1:
        return torch.ones(m, 1, dtype=torch.float64, device="cpu")
    through = _basis(torch.arange(n, dtype=torch.float64, device="cpu"), n)
    at = torch.arange(m, dtype=torch.float64, device="cpu") * ((n - 1) / max(m - 1, 1))
    return _basis(at, n) @ torch.linalg.inv(through)


def _basis(at: Tensor, n: int) -> Tensor:
    """(len(at), n): what each of n coefficients adds at these points."""
    found = torch.zeros(len(at), n, dtype=torch.float64, device="cpu")
    first = at.floor().long() - 1
    for k in range(4):
        place = (first + k) % (2 * (n - 1))
        place = torch.minimum(place, 2 * (n - 1) - place)
        u = (at - (first + k)).abs()
        weight = torch.where(u < 1, 2 / 3 - u**2 + u**3 / 2, (2 - u).clamp(min=0) ** 3 / 6)
        found.scatter_add_(1, place.unsqueeze(1), weight.unsqueeze(1))
    return found
