"""Images on their way to a map, and the layers that it is made from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reluxfast.compat.grad_cam.targets import Target
from reluxfast.methods.run import Run


@dataclass(frozen=True)
class Layer:
    """A target layer on some images.

    Attributes:
        name: the value that it returns.
        value: that value (N, ...).
        activation: A (N, C, *S): the value behind `reshape_transform`.
        gradient: of the targets by A, shaped like it; None where the class needs none.
    """

    name: str
    value: Tensor
    activation: Tensor
    gradient: Tensor | None

    @property
    def spatial(self) -> int:
        """Number of spatial dimensions."""
        return self.activation.dim() - 2


@dataclass(frozen=True)
class Call:
    """Images on their way to a map.

    Attributes:
        run: the request.
        targets: one callable per image; None: the largest class of each.
        output: output (N, ...) of the model, in the engine's dtype.
    """

    run: Run
    targets: list[Target] | None
    output: Tensor
