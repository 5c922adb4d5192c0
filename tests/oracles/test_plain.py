"""The autograd oracle tied to the explicit-matrix oracle, and both to numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles import plain
from tests.oracles.gradient import reverse
from tests.oracles.rules import RULES, rule_kit
from tests.zoo.registry import settle


def _n(t: torch.Tensor) -> np.ndarray:
    return t.detach().double().numpy()


def _affine(linear: nn.Linear) -> plain.Affine:
    return plain.Affine(_n(linear.weight), _n(linear.bias))


def _mlp(kit):
    net = nn.Sequential(nn.Linear(5, 7), kit.relu(), nn.Linear(7, 6), kit.relu(), nn.Linear(6, 3))
    layers = lambda: (_affine(net[0]), plain.Relu(), _affine(net[2]), plain.Relu(), _affine(net[4]))  # noqa: E731
    return net, layers, (5,)


def _conv(kit):
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(4),
        kit.relu(),
        nn.MaxPool2d(2, 1, 1),
        nn.Conv2d(4, 3, 2),
        kit.relu(),
        nn.AvgPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )

    def layers():
        first, size = plain.convolution(_n(net[0].weight), _n(net[0].bias), (6, 5), 2, 1, 2)
        bn = net[1]
        norm = plain.batch_norm(
            _n(bn.weight), _n(bn.bias), _n(bn.running_mean), _n(bn.running_var), bn.eps, size[0] * size[1]
        )
        pooled = plain.MaxPool(plain.pool_windows(4, size, 2, 1, 1))
        size = tuple(s + 1 for s in size)
        second, size = plain.convolution(_n(net[4].weight), _n(net[4].bias), size)
        windows = plain.pool_windows(3, size, 2, 1)
        mean = plain.average(windows, 3 * size[0] * size[1])
        return first, norm, plain.Relu(), pooled, second, plain.Relu(), mean, _affine(net[8])

    return net, layers, (2, 6, 5)


class _Skip(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


def _residual(kit):
    shared = nn.Linear(5, 5)
    block = _Skip(nn.Sequential(shared, kit.relu(), shared))
    net = nn.Sequential(block, kit.relu(), block, nn.Linear(5, 2))

    def layers():
        inner = plain.Residual((_affine(shared), plain.Relu(), _affine(shared)))
        return inner, plain.Relu(), inner, _affine(net[3])

    return net, layers, (5,)


def _conv1d_pool(kit):
    net = nn.Sequential(
        nn.Conv1d(1, 3, 3), nn.MaxPool1d(3, 2), kit.relu(), nn.Conv1d(3, 2, 1), nn.Flatten(), nn.Linear(6, 2)
    )

    def layers():
        first, size = plain.convolution(_n(net[0].weight), _n(net[0].bias), (9,))
        windows = plain.pool_windows(3, size, 3, 2)
        second, _ = plain.convolution(_n(net[3].weight), _n(net[3].bias), (3,))
        return first, plain.MaxPool(windows), plain.Relu(), second, _affine(net[5])

    return net, layers, (1, 9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("build", [_mlp, _conv, _residual, _conv1d_pool])
def test_both_oracles_agree(build, rule):
    net, layers, shape = build(rule_kit(rule))
    settle(net, 3).double().eval()
    x = torch.randn(3, *shape, dtype=torch.float64)
    for target in (0, 1):
        (expected,) = reverse(net, (x,), target)
        for row in range(3):
            out, back = plain.walk(layers(), _n(x[row]).reshape(-1), rule)
            seed = np.eye(len(out))[target]
            np.testing.assert_allclose(out, _n(net(x[row : row + 1]))[0], rtol=1e-12, atol=1e-13)
            # float64 sums in another order: 1e-12 of the scale
            np.testing.assert_allclose(
                back(seed), _n(expected[row]).reshape(-1), rtol=0, atol=1e-12 * float(expected.abs().max())
            )


def test_the_three_rules_by_hand():
    """y = relu(x1 - x2) - relu(x1 + x2) at x = (2, 1): z = (1, 3); at (1, 2): z = (-1, 3)."""
    hidden = plain.Affine(np.array([[1.0, -1.0], [1.0, 1.0]]), np.zeros(2))
    head = plain.Affine(np.array([[1.0, -1.0]]), np.zeros(1))
    expected = {
        ("gradient", (2, 1)): [0, -2],
        ("guided_backprop", (2, 1)): [1, -1],
        ("deconvnet", (2, 1)): [1, -1],
        ("gradient", (1, 2)): [-1, -1],
        ("guided_backprop", (1, 2)): [0, 0],
        ("deconvnet", (1, 2)): [1, -1],
    }
    for (rule, x), values in expected.items():
        _, back = plain.walk((hidden, plain.Relu(), head), np.array(x, dtype=float), rule)
        assert back(np.ones(1)).tolist() == values


def test_pool_ties_go_to_the_first():
    _, back = plain.walk((plain.MaxPool(((0, 1, 2),)),), np.array([1.0, 3.0, 3.0]), "gradient")
    assert back(np.ones(1)).tolist() == [0.0, 1.0, 0.0]


def test_convolution_matrix_by_hand():
    layer, size = plain.convolution(np.array([[[1.0, 10.0]]]), np.array([5.0]), (3,), padding=1)
    assert size == (4,)
    assert layer.matrix.tolist() == [[10, 0, 0], [1, 10, 0], [0, 1, 10], [0, 0, 1]]
    assert layer.bias.tolist() == [5.0] * 4
