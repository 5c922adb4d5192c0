"""What each channel of a layer adds to a map of the CAM family.

A are the layer's activations, g the gradient there, both (..., C, *S) with the number of spatial dimensions given.
Each function returns the same shape; the sum over channels is the map. Constants are those of pytorch-grad-cam.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _space(spatial: int) -> tuple[int, ...]:
    return tuple(range(-spatial, 0))


def grad(a: Tensor, g: Tensor, spatial: int) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): w_c A_c, w_c the spatial mean of g_c."""
    return g.mean(_space(spatial), keepdim=True) * a


def hires(a: Tensor, g: Tensor, spatial: int) -> Tensor:
    """HiResCAM (Draelos & Carin 2020, arXiv 2011.08891): g ⊙ A."""
    return g * a


def elementwise(a: Tensor, g: Tensor, spatial: int) -> Tensor:
    """The positive part of g ⊙ A, element by element."""
    return (g * a).relu()


def layer(a: Tensor, g: Tensor, spatial: int) -> Tensor:
    """LayerCAM (Jiang et al. 2021): relu(g) ⊙ A."""
    return g.relu() * a


def xgrad(a: Tensor, g: Tensor, spatial: int) -> Tensor:
    """XGrad-CAM (Fu et al. 2020, arXiv 2008.02312): w_c A_c, w_c = Σ g_c A_c / (Σ A_c + 1e-7)."""
    total = a.sum(_space(spatial), keepdim=True)
    return (g * a / (total + 1e-7)).sum(_space(spatial), keepdim=True) * a


def plus_plus(a: Tensor, g: Tensor, spatial: int) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063): w_c A_c, w_c = Σ α ⊙ relu(g_c),
    α = g² / (2 g² + (Σ A_c) g³ + 1e-6) and 0 where g is."""
    square = g * g
    alpha = square / (2 * square + a.sum(_space(spatial), keepdim=True) * square * g + 1e-6)
    alpha = torch.where(g == 0, 0, alpha)
    return (g.relu() * alpha).sum(_space(spatial), keepdim=True) * a


def projected(parts: Tensor, spatial: int) -> Tensor:
    """(N, *S): parts (N, C, *S) on their first principal component (Eigen-CAM: Muhammad & Yeasin, arXiv 2008.00299).

    A singular vector has no sign of its own: here the map's largest value is at least as large as its smallest is
    negative. A row that is not finite is NaN.
    """
    finite = parts.flatten(1).isfinite().all(1).view(-1, 1, 1)
    rows = torch.where(finite, parts.flatten(-spatial).transpose(1, 2), 0)
    rows = rows - rows.mean(1, keepdim=True)
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    values = rows @ directions[:, :1].mT
    values = torch.where(values.amax(1, keepdim=True) < -values.amin(1, keepdim=True), -values, values)
    return torch.where(finite, values, torch.nan).reshape(len(parts), *parts.shape[-spatial:])
