"""What is explained of each image: a callable on its row of the output, as a number and as a signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reluxfast.compat.grad_cam.errors import NotScalar, WrongType
from reluxfast.compat.grad_cam.utils.model_targets import ClassifierOutputTarget
from reluxfast.errors import InvalidInput
from reluxfast.methods.run import Seed

# output (K, ...) of one image -> one number
Target = Callable[[Tensor], Tensor]


def as_targets(targets: Any, rows: int) -> list[Target] | None:
    """One callable per image; None: the largest class of each.

    Raises:
        InvalidInput: not as many as images; `WrongType` where they are no sequence of callables.
    """
    if targets is None:
        return None
    if isinstance(targets, Tensor) or not isinstance(targets, Sequence):
        raise WrongType("targets", "must be None or a list with one callable per image", type(targets).__name__)
    for target in targets:
        if not callable(target):
            raise WrongType("targets", "must hold callables", type(target).__name__, "Use ClassifierOutputTarget(...)")
    if len(targets) != rows:
        raise InvalidInput("targets", f"must have one entry per image ({rows})", f"{len(targets)} entries")
    return list(targets)


def seed_of(targets: list[Target] | None) -> Seed:
    """Makes the signal that a reverse walk begins with: the derivative of each image's target by its output."""

    def seed(output: Tensor, numbers: Tensor) -> Tensor:
        if targets is None:
            return torch.zeros_like(output).scatter_(1, _largest(output).unsqueeze(1), 1.0)
        with torch.enable_grad():
            leaf = output.detach().requires_grad_()
            total = sum(_score(targets[i], row) for i, row in zip(numbers.tolist(), leaf, strict=True))
            if not total.requires_grad:
                raise NotScalar("targets", "must depend on the output differentiably", "constants")
            return torch.autograd.grad(total, leaf)[0]

    return seed


def fixed(targets: list[Target] | None, output: Tensor) -> list[Target]:
    """Targets that no longer depend on which class is the largest."""
    if targets is not None:
        return targets
    return [ClassifierOutputTarget(category) for category in _largest(output).tolist()]


def scores(targets: list[Target], output: Tensor, rows: list[int]) -> Tensor:
    """Number (m,) that each output (m, ...) is worth to the target of the image it belongs to."""
    return torch.stack([_score(targets[i], row) for i, row in zip(rows, output, strict=True)])


def _score(target: Target, row: Tensor) -> Tensor:
    found = target(row)
    if not isinstance(found, Tensor) or found.numel() != 1:
        kind = f"a Tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise NotScalar("targets", "must make one number of the output of an image", kind)
    return found.reshape(())


def _largest(output: Tensor) -> Tensor:
    if output.dim() != 2:
        raise InvalidInput(
            "targets",
            f"must say what to explain, the model returns (N, {', '.join(map(str, output.shape[1:]))})",
            None,
            "Pass one callable per image",
        )
    return output.argmax(1)
