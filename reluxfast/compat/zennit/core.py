"""Composites: which rule each layer of a model gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from reluxfast.compat.zennit.canonizers import Canonizer, checked
from reluxfast.compat.zennit.context import CompositeContext
from reluxfast.compat.zennit.errors import NotHere
from reluxfast.compat.zennit.node_rules import ModuleMap


class Composite:
    """Which rule each layer gets.

    Other than in Zennit no hook is ever set and the model is only read, so one composite may serve several models and
    threads at once; the model is explained as if in eval mode.

    Args:
        module_map: (context, name, module) -> rule or None, called for each module in the order of `named_modules()`
            with one dict as context, then for operations that are written out, with a layer of the type that does the
            same; default: no rules.
        canonizers: of `reluxfast.compat.zennit.canonizers`; not needed: residual additions are seen in any case, and
            None folds batch norms into the layers in front. A list without one that folds them, such as [], leaves
            each a layer of its own, as Zennit does without canonizers.

    Attributes:
        module_map, canonizers: as given, canonizers as a list.
        folds: whether batch norms are folded into the layer in front of them.
    """

    def __init__(self, module_map: ModuleMap | None = None, canonizers: Sequence[Canonizer] | None = None):
        self.module_map = module_map if module_map is not None else _no_rules
        self.canonizers = checked(canonizers)
        self.folds = canonizers is None or any(canonizer.folds for canonizer in self.canonizers)
        self._paused = 0

    def context(self, module: nn.Module) -> CompositeContext:
        """A context whose value stands for the model; see `CompositeContext`."""
        return CompositeContext(module, self)

    @contextmanager
    def inactive(self) -> Iterator[Composite]:
        """Gradients of a context's model that are taken inside are plain gradients."""
        self._paused += 1
        try:
            yield self
        finally:
            self._paused -= 1

    @property
    def active(self) -> bool:
        """Whether no `inactive` context is open."""
        return self._paused == 0

    def register(self, module: nn.Module) -> None:
        """Not available: it would put hooks on the model."""
        raise NotHere("no hooks are set here; write `with composite.context(model) as modified:` and call `modified`")

    def remove(self) -> None:
        """Nothing is registered, so there is nothing to remove."""


def _no_rules(context: dict, name: str, module: nn.Module) -> None:
    return None
