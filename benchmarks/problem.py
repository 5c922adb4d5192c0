"""What is timed, by whom, and what its values are held against: the words every benchmark shares."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Axes = Mapping[str, int | str]


class Unavailable(Exception):
    """This provider cannot run here; the message says why."""


class Wrong(Exception):
    """This provider's values do not become right however long it computes; the message says how that was seen."""


@dataclass(frozen=True)
class Prepared:
    """A provider ready to be timed: what a user does once lies behind it, `call()` alone is timed.

    Attributes:
        call: the timed work; its values, or None for a floor.
        computes: what its values are checked as; None: a floor, no values.
        note: how the provider was tuned.
    """

    call: Callable[[], Tensor | None]
    computes: str | None
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """Values of a provider beside the float64 reference.

    Attributes:
        error: distance; infinite where values are not finite or have another shape.
        gate: the largest error that passes.
        measure: what the error is: "relative L2", "standard errors", ...
        cosine: of the angle between values and reference, where that says something.
        reason: why the values are wrong; None: they are right.
    """

    error: float
    gate: float
    measure: str
    cosine: float | None = None
    reason: str | None = None

    @classmethod
    def misshapen(cls, values: Tensor, expected: Tensor, gate: float, measure: str) -> Verdict | None:
        """The verdict on values of another shape than the reference; None where the shape is right."""
        if values.shape == expected.shape:
            return None
        reason = f"shape {tuple(values.shape)} instead of {tuple(expected.shape)}"
        return cls(math.inf, gate, measure, reason=reason)


class Problem(ABC):
    """A case made concrete: networks, inputs and targets drawn from a seed, on one device.

    Attributes:
        axes: the values of the case's axes.
        x: the rows that are explained; their device and dtype are those of all that is computed.
        tiny: a smoke test rather than a measurement.
        copied_bytes: of model and input, in copies that providers asked for so far.
        unit: what `amount` counts: "images", "evaluations" of the network or "rows".
    """

    axes: Axes
    x: Tensor
    tiny: bool
    unit: str
    copied_bytes: int = 0

    def counted(self, model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
        """Both as they are, copies for a provider. A user would convert what is there: they are not its memory."""
        self.copied_bytes += sum(t.nbytes for t in (x, *model.parameters(), *model.buffers()))
        return model, x

    @property
    def device(self) -> torch.device:
        """That of the rows."""
        return self.x.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the rows and the weights."""
        return self.x.dtype

    @property
    @abstractmethod
    def amount(self) -> int:
        """Units of work in one call."""

    @abstractmethod
    def providers(self) -> Mapping[str, Provider]:
        """Who is compared on this problem's device, in the order of the table, floors last."""

    @abstractmethod
    def judge(self, values: Tensor, computes: str) -> Verdict:
        """Values beside the float64 reference of what they claim to be; references are computed once."""

    def small_copy(self) -> Problem | None:
        """The same case in small, where everybody who is right is within rounding; None: the problem itself will do."""
        return None

    def work(self) -> Work | None:
        """What one call has to compute and to move at the least; None where nobody has counted."""
        return None


@dataclass(frozen=True)
class Work:
    """FLOP and bytes of one call as a list of kernels, each of which takes the longer of both times.

    Attributes:
        kernels: (FLOP, bytes) of each.
        about: what was counted, in a few words.
    """

    kernels: tuple[tuple[int, int], ...]
    about: str

    @property
    def flop(self) -> int:
        """Multiplications and additions of all kernels."""
        return sum(flop for flop, _ in self.kernels)

    @property
    def moved(self) -> int:
        """Bytes that all kernels read and write."""
        return sum(moved for _, moved in self.kernels)

    def seconds(self, flop_per_s: float, bytes_per_s: float) -> float:
        """The floor: no kernel can be faster than its arithmetic or its traffic."""
        return sum(max(flop / flop_per_s, moved / bytes_per_s) for flop, moved in self.kernels)


Provider = Callable[[Any], Prepared]


# Name -> device types on which it is compared, and who prepares it; in the order of the table.
ProviderTable = Mapping[str, tuple[tuple[str, ...], Provider]]


def compared_on(device: torch.device, table: ProviderTable) -> dict[str, Provider]:
    """Those of a table that are compared on a kind of device."""
    return {name: provider for name, (devices, provider) in table.items() if device.type in devices}


def kind_of(name: str) -> str:
    """ "engine", "floor" or "peer"."""
    if name.startswith("reluxfast"):
        return "engine"
    return "floor" if name in FLOORS else "peer"


# Who takes part only where a point or the user asks for it.
ON_REQUEST = ("algebra",)
# The library calls of a walk alone, with nothing between them: no provider, but what providers are measured against.
FLOORS = ("bare", "sgemm", "bare forward")
