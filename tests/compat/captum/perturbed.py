"""The perturbation methods beside Captum's: what both must say, up to the dtype of results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reluxfast.compat.captum import perturbation as ours
from tests.compat.captum.parity import agree, both

# Options that make a small call of each.
SMALL: dict[type, dict[str, Any]] = {
    ours.FeatureAblation: {},
    ours.Occlusion: {},
    ours.ShapleyValueSampling: {"n_samples": 3},
    ours.ShapleyValues: {},
    ours.KernelShap: {"n_samples": 20},
    ours.Lime: {"n_samples": 15},
}


FITTED = [ours.KernelShap, ours.Lime]
# Those that take feature masks, and those of them that give values for several outputs.
MASKED = [kind for kind in SMALL if kind is not ours.Occlusion]
SEVERAL = [ours.FeatureAblation, ours.ShapleyValueSampling, ours.ShapleyValues]


def same(kind: type, model: Any, *args: Any, wide: bool = False, tolerance: float | None = None, **kwargs: Any) -> Any:
    """Both say the same under the same seed; returns ours.

    Args:
        wide: ours is float64 where Captum's is float32.
    """
    found, expected = both(kind, model, *args, same_seed=True, **{**SMALL[kind], **kwargs})
    listed = found if isinstance(found, tuple) else (found,)
    if wide:
        assert all(v.dtype == torch.float64 for v in listed)
        narrow = tuple(v.float() for v in listed)
        agree(narrow if isinstance(found, tuple) else narrow[0], expected, kind.__name__, tolerance)
    else:
        agree(found, expected, kind.__name__, tolerance)
    return found


class Tokens(nn.Module):
    """Indices of an embedding, and their number, a float for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear, self.relu, self.head = (
            nn.Embedding(50, 6),
            nn.Linear(6, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        )

    def forward(self, tokens: Tensor, scale: Tensor | None = None) -> Tensor:
        x = self.head(self.relu(self.linear(self.embedding(tokens))).mean(1))
        return x if scale is None else x * scale[:, None]
