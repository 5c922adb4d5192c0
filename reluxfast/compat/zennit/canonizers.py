"""Zennit's canonizers, by name.

Zennit's rewrite the model for the time of an explanation: batch norms into the layers in front, residual additions
into modules. Here the model stays as it is, and the engine sees every addition anyhow; what a canonizer still says is
that batch norms are to be folded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from reluxfast.compat.zennit.errors import NotHere, WrongType


class Canonizer:
    """Base class.

    Attributes:
        folds: whether batch norms are computed as part of the layer in front, and follow its rule.
    """

    folds = False

    def apply(self, root_module: nn.Module) -> list[Canonizer]:
        """Not available: it would change the model."""
        raise NotHere("canonizers change no model here; pass them to a composite, which is all they are needed for")


class MergeBatchNorm(Canonizer):
    """Base class of those that fold batch norms."""

    folds = True


class SequentialMergeBatchNorm(MergeBatchNorm):
    """Folds batch norms wherever the network's graph allows it, in whatever order modules were defined."""


class NamedMergeBatchNorm(MergeBatchNorm):
    """As `SequentialMergeBatchNorm`: the graph says which batch norm follows which layer, so names are not needed.

    Args:
        name_map: ((layer names), batch norm name) pairs, kept and not looked at.
    """

    def __init__(self, name_map: Sequence[tuple[Sequence[str], str]]):
        self.name_map = name_map


class AttributeCanonizer(Canonizer):
    """Without effect where the model computes the same with the attributes, else refused.

    Additions need no module here to be seen. With each explanation the attributes are set on a copy of the model, which
    shares its parameters, and output and gradient are compared; an InvalidInput where they differ.

    Args:
        attribute_map: (name, module) -> attributes or None, called with modules of the copy.
    """

    def __init__(self, attribute_map: Callable[[str, nn.Module], dict[str, Any] | None]):
        self.attribute_map = attribute_map


class CompositeCanonizer(Canonizer):
    """Several canonizers.

    Args:
        canonizers: the canonizers.
    """

    def __init__(self, canonizers: Sequence[Canonizer]):
        self.canonizers = checked(canonizers)
        self.folds = any(c.folds for c in self.canonizers)


_KNOWN = (SequentialMergeBatchNorm, NamedMergeBatchNorm, AttributeCanonizer, CompositeCanonizer)


def checked(canonizers: Sequence[Canonizer] | None) -> list[Canonizer]:
    """`canonizers` as a list.

    Raises:
        WrongType: one of them is none of this module's or overrides what it does, so that it is not known what it
            would do.
    """
    listed = list(canonizers or ())
    for canonizer in listed:
        if not isinstance(canonizer, _KNOWN):
            rule = "must hold canonizers of reluxfast.compat.zennit"
            remedy = "One of your own would rewrite the model, which is only read here; rewrite it beforehand"
            raise WrongType("canonizers", rule, type(canonizer).__name__, remedy)
        for name in ("apply", "register", "merge_batch_norm"):
            if getattr(type(canonizer), name, None) is not getattr(Canonizer, name, None):
                rule = f"must leave {name} alone, which would change the model and is never called here"
                raise WrongType("canonizers", rule, f"{type(canonizer).__name__}, which overrides {name}")
    return listed
