"""Errors of the types that pytorch-grad-cam's users may catch, with the words of ours."""

from __future__ import annotations

from reluxfast.errors import InvalidInput


class WrongType(InvalidInput, TypeError):
    """An argument of a kind that cannot be used."""


class OutOfRange(InvalidInput, IndexError):
    """A class that the model does not have."""


class NotScalar(InvalidInput, RuntimeError):
    """A target that makes of an output something else than one number that depends on it."""
