"""Errors of the types that pytorch-grad-cam's users may catch, with the words of ours."""

from __future__ import annotations

from reluxfast.errors import InvalidInput, ReluxfastError, UnsupportedNode


class WrongType(InvalidInput, TypeError):
    """An argument of a kind that cannot be used."""


class NoTensor(InvalidInput, TypeError, AttributeError):
    """Images that are no Tensor."""


class WrongDtype(InvalidInput, RuntimeError):
    """Images that are not floating-point."""


class WrongShape(InvalidInput, RuntimeError):
    """A Tensor that does not have the shape asked for."""


class OutOfRange(InvalidInput, IndexError):
    """A class that the model does not have."""


class NotScalar(InvalidInput, RuntimeError):
    """A target that makes of an output something else than one number that depends on it."""


class NotCaptured(UnsupportedNode, RuntimeError):
    """A model that cannot be captured for the images, mostly because it does not take them."""


class NotOneTensor(UnsupportedNode, AttributeError):
    """A model that returns several values."""


class NotHere(ReluxfastError, NotImplementedError):
    """What a class of the user's own cannot have here, since it belongs to hooks or to steps that are not taken."""
