"""Canonizers for torchvision's models, which are taken as they are; torchvision is not imported."""

from __future__ import annotations

from reluxfast.compat.zennit.canonizers import AttributeCanonizer, CompositeCanonizer, SequentialMergeBatchNorm


class VGGCanonizer(SequentialMergeBatchNorm):
    """Folds batch norms."""


class _Additions(AttributeCanonizer):
    def __init__(self) -> None:
        super().__init__(lambda name, module: None)


class ResNetBasicBlockCanonizer(_Additions):
    """Without effect: residual additions are seen anyhow."""


class ResNetBottleneckCanonizer(_Additions):
    """Without effect: residual additions are seen anyhow."""


class ResNetCanonizer(CompositeCanonizer):
    """Folds batch norms; residual additions are seen anyhow."""

    def __init__(self) -> None:
        super().__init__([SequentialMergeBatchNorm()])
