"""Options of a method: those that its function takes behind its first parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from reluxfast.errors import InvalidInput


@cache
def _parameters(function: Callable) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())[1:]


def check_options(method: str, function: Callable, options: Mapping[str, Any], common: Sequence[str] = ()) -> None:
    """Refuses options that a method does not have, and a call without those it cannot do without.

    Args:
        method: its name, for messages.
        function: the method.
        options: as given.
        common: names of options that are not the function's own, for messages.
    """
    parameters = _parameters(function)
    names = [p.name for p in parameters]
    for name in options:
        if name not in names:
            raise InvalidInput("options", f"of {method} are: {', '.join((*common, *names)) or 'none'}", repr(name))
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if missing:
        raise InvalidInput("options", f"of {method} must include {', '.join(missing)}", sorted(options))


def defaults(function: Callable) -> dict[str, Any]:
    """Every option with its default, None where there is none."""
    return {p.name: None if p.default is p.empty else p.default for p in _parameters(function)}
