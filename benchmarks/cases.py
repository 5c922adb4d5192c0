"""The cases a benchmark can run: a network, its input shape and, in tiny mode, a small copy of both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import models


@dataclass(frozen=True)
class Case:
    """One network. `build(**options)` makes it untrained; sizes are pixels, `tiny_*` what a smoke test uses."""

    name: str
    build: Callable[..., nn.Module]
    channels: int
    size: int
    tiny_size: int
    tiny_options: dict[str, int]


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("vgg16", models.vgg16, 3, 224, 32, {"width": 4, "n_classes": 10}),
        Case("resnet50", models.resnet50, 3, 224, 32, {"width": 4, "n_classes": 10}),
        Case("resnet18", models.resnet18, 3, 224, 32, {"width": 4, "n_classes": 10}),
        Case("digits", models.DigitsCNN, 1, 8, 8, {"width": 4}),
    )
}


@dataclass(frozen=True)
class Problem:
    """A case made concrete: the model in eval mode, images x (N, C, S, S) float32 and one target class per row (N,).

    `merged_eps`: whether eps of the batch norms is part of their variance, and 0 itself.
    """

    case: Case
    model: nn.Module
    x: Tensor
    target: Tensor
    functional: bool
    tiny: bool
    merged_eps: bool = False

    def small_copy(self) -> Problem:
        """Two rows of the same case in tiny mode, made in the same way on the same device."""
        how = {"functional": self.functional, "merged_eps": self.merged_eps, "device": self.x.device}
        return make_problem(self.case, 2, tiny=True, **how)

    def channels_last(self) -> tuple[nn.Module, Tensor]:
        """A frozen copy of the model and the input, both in channels-last order."""
        model = copy.deepcopy(self.model).to(memory_format=torch.channels_last).requires_grad_(False)
        return model, self.x.contiguous(memory_format=torch.channels_last)


def build_model(case: Case, size: int, *, tiny: bool = False, functional: bool = False, seed: int = 0) -> nn.Module:
    """The case's network with trained-like weights, in eval mode, calibrated on images of `size` pixels."""
    options = dict(case.tiny_options) if tiny else {}
    with torch.device("meta"):  # the default initialisation would draw every weight once for nothing
        model = case.build(functional=functional, **options)
    model.to_empty(device="cpu")
    n_images = max(2, 512 // size)  # deep maps of small images are one pixel: their spread needs many images
    return models.trained_like_(model, models.images(n_images, case.channels, size, seed + 1), seed)


def make_problem(
    case: Case,
    batch: int,
    size: int | None = None,
    *,
    tiny: bool = False,
    functional: bool = False,
    merged_eps: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Problem:
    """Draw weights and images from `seed`, the same for every device; the target of a row is its highest logit."""
    size = size or (case.tiny_size if tiny else case.size)
    model = build_model(case, size, tiny=tiny, functional=functional, seed=seed)
    if merged_eps:
        models.move_eps_into_variance_(model)
    x = models.images(batch, case.channels, size, seed)
    model, x = model.to(device), x.to(device)
    with torch.no_grad():
        target = model(x).argmax(dim=1)
    return Problem(case, model, x, target, functional, tiny, merged_eps)
