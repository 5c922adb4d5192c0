"""A case of the registry, and a point: a case at one setting of its axes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from reluxfast.benchmarks.problem import Axes, Problem
from reluxfast.errors import InvalidInput


@dataclass(frozen=True)
class Conditions:
    """Under what a problem is made.

    Attributes:
        device: where it is computed.
        tiny: small copies of networks and few rows: a smoke test.
        seed: of weights, inputs and draws.
        functional: networks written with `F.relu` instead of modules.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tiny: bool = False
    seed: int = 0
    functional: bool = False


def _any_axes(axes: Axes) -> None:
    """Every value that is of the right kind."""


@dataclass(frozen=True)
class Case:
    """Something that can be timed.

    Attributes:
        name: "vgg16/guided_backprop", "mlp/shapley", ...
        group: "maps" (a value for each pixel) or "games" (a value for each player).
        about: one line for the list of cases.
        axes: what may be varied, with the values where nothing is said.
        make: (axes, conditions) -> problem; `axes` holds every axis.
        check: raises InvalidInput for values that `make` cannot take, before anything is measured.
    """

    name: str
    group: str
    about: str
    axes: Mapping[str, int | str]
    make: Callable[[Axes, Conditions], Problem] = field(repr=False)
    check: Callable[[Axes], None] = field(default=_any_axes, repr=False)

    def checked(self, axes: Axes) -> Axes:
        """The axes as they are.

        Raises:
            InvalidInput: an axis that counts is no integer from 1 on, or `check` refuses it.
        """
        for axis, value in axes.items():
            if isinstance(self.axes[axis], int) and (not isinstance(value, int) or value < 1):
                raise InvalidInput(axis, "must be an integer from 1 on", repr(value))
        self.check(axes)
        return axes


@dataclass(frozen=True)
class Point:
    """A case at one setting.

    Attributes:
        case: what is timed.
        axes: every axis of the case and its value.
        providers: who is compared; None: everybody but those who come on request.
        sweep: name of the series that the point belongs to, "" for none.
    """

    case: Case
    axes: Axes
    providers: tuple[str, ...] | None = None
    sweep: str = ""

    @property
    def name(self) -> str:
        """The case with the axes that differ from its own."""
        changed = [f"{axis}={value}" for axis, value in self.axes.items() if value != self.case.axes[axis]]
        return " ".join([self.case.name, *changed])


def at(
    case: Case,
    providers: tuple[str, ...] | None = None,
    sweep: str = "",
    **axes: int | str,
) -> Point:
    """The case with some axes changed.

    Raises:
        KeyError: an axis that it has not.
        InvalidInput: a value that it cannot take.
    """
    for axis in axes:
        if axis not in case.axes:
            raise KeyError(f"{case.name} has no axis {axis!r}; it has {', '.join(case.axes)}")
    return Point(case, case.checked({**case.axes, **axes}), providers, sweep)


def one_of(axis: str, known: Collection[str], value: object) -> None:
    """Raises InvalidInput unless `value` is known."""
    if value not in known:
        raise InvalidInput(axis, f"must be one of {', '.join(known)} here", repr(value))
