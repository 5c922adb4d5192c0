"""Checks of options that are numbers or names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reluxfast.errors import InvalidInput


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuses what is none of the allowed names."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(name, f"must be one of {', '.join(allowed)}", repr(value))


def whole(name: str, value: Any) -> None:
    """Refuses what is no int."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InvalidInput(name, "must be an int", repr(value))


def flag(name: str, value: Any) -> None:
    """Refuses what is neither True nor False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInput(name, "must be True or False", repr(value))


def is_number(value: Any) -> bool:
    """Whether it is a real number, in Python's types or numpy's."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def positive(name: str, value: Any, needed: bool = False) -> None:
    """Refuses what is neither a positive int nor, unless it is needed, None."""
    if value is None and not needed:
        return
    whole(name, value)
    if value < 1:
        raise InvalidInput(name, "must be a positive int", value)


def count(name: str, value: Any) -> None:
    """Refuses what is neither None nor an int of at least 0."""
    if value is None:
        return
    whole(name, value)
    if value < 0:
        raise InvalidInput(name, "must be an int of at least 0", value)


def fraction(name: str, value: Any) -> None:
    """Refuses what is neither None nor a finite number above 0."""
    if value is None:
        return
    if not is_number(value) or not 0 < value < math.inf:
        raise InvalidInput(name, "must be a finite number above 0", repr(value))
