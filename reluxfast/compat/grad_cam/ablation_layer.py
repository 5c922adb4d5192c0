"""Which dimension of a layer's value Ablation-CAM takes channels from."""

from __future__ import annotations


class AblationLayer:
    """Channels are dimension 1: (N, C, *S)."""

    channel_dim = 1


class AblationLayerVit(AblationLayer):
    """Channels are the last dimension: (N, T, C), as vision transformers have them."""

    channel_dim = -1
