"""Errors of the types that Captum raises, in the words of this project."""

from __future__ import annotations

from reluxfast.errors import InvalidInput, UnsupportedNode


class Refused(InvalidInput, AssertionError):
    """An argument that Captum refuses by an assertion."""


class OutOfRange(InvalidInput, IndexError, RuntimeError):
    """A target or a neuron that the output does not have: for Captum an IndexError, or a RuntimeError in a list."""


class NotCaptured(UnsupportedNode, RuntimeError):
    """A model that cannot be captured for these inputs; where it does not take them at all, PyTorch's own error is one
    of this type."""


class Undefined(InvalidInput, RuntimeError):
    """What PyTorch refuses inside Captum's calls."""


class NoModule(InvalidInput, AttributeError):
    """A function where a module is needed."""


class WrongRule(InvalidInput, TypeError):
    """A `module.rule` that is none that is known."""


class NoRule(UnsupportedNode, TypeError):
    """A part of the model that no propagation rule is known for."""
