"""Attention in its usual spellings; softmax and products are walked by their exact VJP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import FUNCTIONAL, Kit
from tests.zoo.registry import add, construct


class _Attention(nn.Module):
    def __init__(self, kit: Kit):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.fc1, self.fc2, self.relu = nn.Linear(8, 9), nn.Linear(9, 4), kit.relu()

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return q, k, v

    def tail(self, x: Tensor, mixed: Tensor) -> Tensor:
        mixed = mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], 8)
        return self.fc2(self.relu(self.fc1(x + self.out(mixed))).mean(1))


@construct(shape=(5, 8))
class WrittenAttention(_Attention):
    """softmax(q k^T / sqrt(d)) v by matmul and @."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.tail(x, torch.softmax(torch.matmul(q, k.transpose(-2, -1)) / 2.0, -1) @ v)


@construct(shape=(5, 8))
class ScaledDotProduct(_Attention):
    """F.scaled_dot_product_attention."""

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x, F.scaled_dot_product_attention(*self.heads(x)))


@construct(shape=(5, 8))
class CausalAttention(_Attention):
    """The causal form, on q, k, v made by chunk."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, 2))
        return self.tail(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


@construct(shape=(5, 8))
class MultiheadAttention(nn.Module):
    """nn.MultiheadAttention, batch first, weights not asked for."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc, self.head, self.relu = nn.Linear(8, 9), nn.Linear(9, 4), kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return self.head(self.relu(self.fc(x + mixed)).mean(1))


@construct(shape=(5, 8))
class MultiheadAttentionWeights(MultiheadAttention):
    """The same, averaged weights asked for and dropped, sequence axis first."""

    def __init__(self, kit: Kit):
        super().__init__(kit)
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        t = x.transpose(0, 1)
        mixed, _ = self.attention(t, t, t)
        return self.head(self.relu(self.fc(x + mixed.transpose(0, 1))).mean(1))


def _encoder(kit: Kit) -> nn.Module:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 10, dropout=0.0, activation=kit.relu(), batch_first=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x).mean(1))

    return Encoder()


add("transformer_encoder_layer", _encoder, shape=(5, 8), kit=FUNCTIONAL, notes="has a fused path for inference")


def _gru(kit: Kit) -> nn.Module:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head, self.relu = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 4), kit.relu()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.relu(self.gru(x)[0][:, -1]))

    return Recurrent()


add("gru", _gru, shape=(3, 4), notes="one node with several results")
