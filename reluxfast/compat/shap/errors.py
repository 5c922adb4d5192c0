"""Errors that are shap's own as well, wherever it raises one of another type than ValueError."""

from __future__ import annotations

import sys

from reluxfast.errors import InvalidInput, ReluxfastError


class WrongType(InvalidInput, TypeError):
    """An argument is of a type that nothing can be done with."""


class NotOffered(InvalidInput, NotImplementedError):
    """An argument asks for something that shap does and this adapter does not."""


class WrongShape(InvalidInput, RuntimeError):
    """Rows have not the shape that a network takes."""


class UnexpectedInput(InvalidInput, AssertionError):
    """Inputs of a network have not the form of its background."""


class NotAdditive(ReluxfastError, AssertionError):
    """Values do not sum to what they should explain."""


def wrong_dimensions(argument: str, rule: str, value: object, remedy: str = "") -> InvalidInput:
    """An InvalidInput that is shap's DimensionError too, where shap has been imported."""
    return _with_peers("DimensionError")(argument, rule, value, remedy)


def unknown_algorithm(value: object, rule: str) -> InvalidInput:
    """An InvalidInput that is shap's InvalidAlgorithmError too, where shap has been imported."""
    return _with_peers("InvalidAlgorithmError")("algorithm", rule, value)


def _with_peers(name: str) -> type[InvalidInput]:
    peers = getattr(sys.modules.get("shap.utils._exceptions"), name, None)
    return InvalidInput if peers is None else type(name, (InvalidInput, peers), {})
