"""Grad-CAM by hand on a net whose gradient can be read off."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.oracles.cam import grad_cam, guided_grad_cam, layer_signal
from tests.oracles.gradient import attribute
from tests.zoo import CONSTRUCTS
from tests.zoo.registry import Construct

CHANNELS = torch.tensor([[2.0, -1.0], [1.0, 1.0]])


class _Readable(nn.Module):
    """A = (2x, -x), then y = (Σ over pixels of A_1 + A_2, ... ): g is constant, w is read off `head`."""

    def __init__(self, kit):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Linear(2, 2, bias=False)

    def forward(self, x):
        return self.head(self.conv(x).sum((2, 3)))

    def fixed(self):
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([2.0, -1.0]).reshape(2, 1, 1, 1))
            self.head.weight.copy_(CHANNELS)
        return self


class _Fixed(Construct):
    def oracle(self, kit, dtype=torch.float64):
        return super().oracle(kit, dtype).fixed()


READABLE = _Fixed("readable", _Readable, ((1, 2, 2),))
X = torch.tensor([[[[1.0, -2.0], [0.0, 4.0]]]])


def test_activations_and_signal_by_hand():
    a, g = layer_signal(READABLE, (X,), "conv", 0)
    assert torch.equal(a, torch.cat([2 * X, -X], 1).double())
    assert torch.equal(g, CHANNELS[0].double().reshape(1, 2, 1, 1).expand(1, 2, 2, 2))


@pytest.mark.parametrize(("target", "factor"), [(0, 2 * 2.0 + 1.0), (1, 2.0 - 1.0)])
def test_grad_cam_by_hand(target, factor):
    """w = row of `head`; Σ_c w_c A_c = (2 w_1 - w_2) x."""
    signed = grad_cam(READABLE, (X,), "conv", target, relu=False)
    assert torch.equal(signed, factor * X.double())
    assert torch.equal(grad_cam(READABLE, (X,), "conv", target), factor * X.double().clamp(min=0))
    top = grad_cam(READABLE, (X,), "conv", target, normalize=True)
    assert torch.equal(top, X.double().clamp(min=0) / 4)
    empty = grad_cam(READABLE, (-X.abs(),), "conv", target, normalize=True)
    assert torch.equal(empty, torch.zeros_like(empty))


def test_upsampling_is_bilinear_without_aligned_corners():
    construct = CONSTRUCTS["relu_module"]
    x = torch.randn(2, 3, 8, 8)
    small = grad_cam(construct, (x,), "pool", 1, upsample=False)
    big = grad_cam(construct, (x,), "pool", 1)
    assert small.shape == (2, 1, 4, 4) and big.shape == (2, 1, 8, 8)
    assert big[0, 0, 0, 0] == small[0, 0, 0, 0]
    between = 0.75 * small[0, 0, 0, 0] + 0.25 * small[0, 0, 0, 1]
    assert float(big[0, 0, 0, 1]) == pytest.approx(float(between), rel=1e-14)


def test_guided_grad_cam_is_the_product():
    construct = CONSTRUCTS["relu_module"]
    x = torch.randn(2, 3, 8, 8)
    product = attribute(construct, (x,), "guided_backprop")[0] * grad_cam(construct, (x,), "conv2", 1)
    assert torch.equal(guided_grad_cam(construct, (x,), "conv2", 1), product)
