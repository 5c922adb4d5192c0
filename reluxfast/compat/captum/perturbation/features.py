"""Feature masks: which elements of the inputs are one feature, that is, one player of a game."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from reluxfast.compat.captum.errors import Refused
from reluxfast.errors import InvalidInput


@dataclass(frozen=True)
class Features:
    """The feature of each element of the inputs.

    Attributes:
        ids: for each input (1, p) or (N, p) int64 on the host, for its p elements; the first size is that of all.
        total: largest id + 1.
    """

    ids: tuple[torch.Tensor, ...]
    total: int

    @property
    def shared(self) -> bool:
        """Whether every example has the same features."""
        return self.ids[0].shape[0] == 1

    def from_zero(self) -> Features:
        """The same with ids whose least is 0."""
        least = min((int(ids.min()) for ids in self.ids if ids.numel()), default=0)
        return Features(tuple(ids - least for ids in self.ids), self.total - least)

    def groups(self, rows: int) -> list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
        """Examples with the same features: their numbers, and for each input the ids (p,) of its elements."""
        if self.shared:
            return [(torch.arange(rows, device="cpu"), tuple(ids[0] for ids in self.ids))]
        kinds, which = torch.cat(self.ids, 1).unique(dim=0, return_inverse=True)
        sizes = [ids.shape[1] for ids in self.ids]
        return [((which == kind).nonzero().squeeze(1), ids.split(sizes)) for kind, ids in enumerate(kinds)]


def default_features(inputs: tuple[torch.Tensor, ...]) -> Features:
    """Every element a feature of its own, numbered through all inputs."""
    sizes = [math.prod(x.shape[1:]) for x in inputs]
    total = sum(sizes)
    return Features(torch.arange(total, device="cpu").unsqueeze(0).split(sizes, 1), total)


def given_features(
    feature_mask: torch.Tensor | tuple[torch.Tensor, ...] | None, inputs: tuple[torch.Tensor, ...]
) -> Features:
    """Features by integers that broadcast to the inputs; None: every element is one.

    Raises:
        InvalidInput, an AssertionError: a mask does not fit its input.
    """
    if feature_mask is None:
        return default_features(inputs)
    masks = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
    if len(masks) != len(inputs):
        raise Refused("feature_mask", f"must hold one mask for each input ({len(inputs)})", f"{len(masks)} masks")
    checked = [_mask(index, mask, x) for index, (mask, x) in enumerate(zip(masks, inputs, strict=True))]
    rows = max(len(mask) for mask in checked)
    sizes = [math.prod(x.shape[1:]) for x in inputs]
    ids = tuple(m.reshape(len(m), size).expand(rows, size) for m, size in zip(checked, sizes, strict=True))
    return Features(ids, 1 + max((int(mask.max()) for mask in ids if mask.numel()), default=-1))


def _mask(index: int, mask: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One mask as (1 or N, *shape) int64 on the host."""
    if not isinstance(mask, torch.Tensor):
        raise Refused("feature_mask", "must be a Tensor or a tuple of Tensors", type(mask).__name__)
    fits = mask.dim() <= x.dim() and all(
        m in (1, d) for m, d in zip(reversed(mask.shape), reversed(x.shape), strict=False)
    )
    if not fits:
        shown = f"the shape {tuple(mask.shape)} for an input of shape {tuple(x.shape)}"
        raise Refused("feature_mask", f"(index {index}) must broadcast to its input", shown)
    mask = mask.detach().cpu()
    if mask.is_complex() or (mask.is_floating_point() and bool((mask != mask.floor()).any())):
        raise InvalidInput("feature_mask", "must hold integers that name the feature of each element", mask.dtype)
    mask = mask.long().reshape(*[1] * (x.dim() - mask.dim()), *mask.shape)
    return mask.expand(mask.shape[0], *x.shape[1:])
