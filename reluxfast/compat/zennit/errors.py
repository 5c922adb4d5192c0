"""Errors of the types that Zennit's users catch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reluxfast.errors import InvalidInput, ReluxfastError, UnsupportedNode


class WrongType(InvalidInput, TypeError):
    """An argument of a type that has no meaning here."""


class WrongShape(InvalidInput, RuntimeError):
    """A Tensor whose shape or device does not fit."""


class NotHere(ReluxfastError, NotImplementedError):
    """What only works by changing the user's model, which is never done."""


@contextmanager
def in_words() -> Iterator[None]:
    """Refusals of the engine that name its own options are raised again with what can be done with a composite."""
    try:
        yield
    except UnsupportedNode as e:
        reason, remedy = e.reason, e.remedy
        if "retain_grad" in reason:
            reason = "a forward hook calls retain_grad, but values inside the model have no gradients here"
            remedy = "Remove the hook; rx.lrp(model, x, target, return_layers=[...]) gives relevance inside the model"
        elif "layer_rules=" in remedy or "fallback=" in remedy or "products=" in remedy:
            named = f'NameMapComposite([(["{e.module_path or "path"}"], reluxfast.rules.Gradient())])'
            remedy = (
                f"Give its layer the derivative, by name with MixedComposite([{named}, composite]) or by type in a "
                "layer_map; an operation that is written out needs a module of its own for that"
            )
        else:
            raise
        raise UnsupportedNode(e.op, reason, e.module_path, e.source, e.method, remedy) from None
