"""Errors of the types that Zennit's users catch."""

from __future__ import annotations

from reluxfast.errors import InvalidInput, ReluxfastError


class WrongType(InvalidInput, TypeError):
    """An argument of a type that has no meaning here."""


class WrongShape(InvalidInput, RuntimeError):
    """A Tensor whose shape or device does not fit."""


class NotHere(ReluxfastError, NotImplementedError):
    """What only works by changing the user's model, which is never done."""
