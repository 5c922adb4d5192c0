"""Formulas of the CAM family, channel by channel and evaluation by evaluation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluxfast.captured import captured
from reluxfast.explainer import make_run
from reluxfast.methods import cam_maps
from reluxfast.methods.cam import activations
from reluxfast.methods.cam_scores import ablation_weights, channels_to_ablate, score_weights
from tests.support import assert_close


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _grad(a: Tensor, g: Tensor) -> Tensor:
    return g.sum() / g.numel() * a


def _xgrad(a: Tensor, g: Tensor) -> Tensor:
    return sum(g.flatten() * a.flatten()) / (sum(a.flatten()) + 1e-7) * a


def _plus_plus(a: Tensor, g: Tensor) -> Tensor:
    weight = 0.0
    for slope in g.flatten().tolist():
        if slope > 0:
            weight += slope * slope**2 / (2 * slope**2 + float(a.sum()) * slope**3 + 1e-6)
    return weight * a


PLAIN = {
    cam_maps.grad: _grad,
    cam_maps.hires: lambda a, g: a * g,
    cam_maps.elementwise: lambda a, g: (a * g) * (a * g > 0),
    cam_maps.layer: lambda a, g: a * g * (g > 0),
    cam_maps.xgrad: _xgrad,
    cam_maps.plus_plus: _plus_plus,
}


@pytest.mark.parametrize("formula", PLAIN, ids=lambda f: f.__name__)
@pytest.mark.parametrize("space", [(7,), (5, 3), (2, 3, 4)], ids=str)
def test_formulas(formula, space):
    a, g = _drawn(2, 4, *space), _drawn(2, 4, *space, seed=1)
    g[0, 0], g[1, 1, ..., 0] = 0, 0
    a[0, 2] = a[0, 2].relu()
    expected = torch.stack(
        [torch.stack([PLAIN[formula](*c) for c in zip(*r, strict=True)]) for r in zip(a, g, strict=True)]
    )
    assert_close(formula(a, g, len(space)), expected, 1e-12)
    per_class = formula(a.unsqueeze(1), torch.stack([g, 2 * g], 1), len(space))
    assert_close(per_class[:, 0], expected, 1e-12, "with classes")


@pytest.mark.parametrize("space", [(6,), (5, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("channels", [2, 40])
def test_first_principal_component(space, channels):
    parts = _drawn(3, channels, *space) ** 3
    found = cam_maps.projected(parts, len(space))
    assert found.shape == (3, *space)
    for row, one in zip(parts, found, strict=True):
        points = row.flatten(1).T
        centred = points - points.mean(0)
        values, directions = torch.linalg.eigh(centred.T @ centred)
        assert_close(one.flatten().abs(), (centred @ directions[:, -1]).abs(), 1e-10)
        assert_close(one.square().sum(), values[-1], 1e-10, "its variance")
        assert one.max() >= -one.min()


def test_sign_does_not_depend_on_that_of_the_parts():
    parts = _drawn(2, 5, 4, 4) ** 3
    assert_close(cam_maps.projected(-parts, 2), cam_maps.projected(parts, 2), 1e-12)


def test_row_that_is_not_finite():
    parts = _drawn(3, 5, 4, 4)
    parts[1, 2, 0, 0] = float("inf")
    found = cam_maps.projected(parts, 2)
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()
    assert not cam_maps.projected(torch.ones(1, 5, 4, 4), 2).any()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last, self.fc = nn.Conv2d(2, 5, 3), nn.Conv2d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.tail(self.conv(x).relu())

    def tail(self, a):
        return self.fc(self.last(a).relu().mean((2, 3)))


@pytest.fixture
def net() -> tuple:
    """Model, images, request, activations of its first layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net().double()
    x = _drawn(2, 2, 7, 9)
    run = make_run(captured(model, (x,)), [x], None)
    with torch.no_grad():
        return model, x, run, model.conv(x).relu()


def _score(output: Tensor, rows: list[int]) -> Tensor:
    """Class 1, and the number of the row."""
    return output[:, 1] + torch.tensor(rows, dtype=output.dtype)


@pytest.mark.parametrize("size", [1, 3, 100])
@torch.no_grad()
def test_score_weights(net, size):
    model, x, run, a = net
    expected = torch.zeros(2, 5, dtype=torch.float64)
    for n in range(2):
        for c in range(5):
            mask = F.interpolate(a[n, c][None, None], size=(7, 9), mode="bilinear", align_corners=True)
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
            expected[n, c] = model(x[n : n + 1] * mask)[0, 1] + n
    assert_close(score_weights(run, a, _score, size), expected.softmax(1), 1e-12)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("layer", ["conv", "last"])
@torch.no_grad()
def test_ablation_weights(net, size, layer):
    """The smallest value of these layers is negative: channels are put 1e7 below it."""
    model, _, run, _ = net
    name = run.layer(layer)
    output, values = activations(run, [name])
    value = values[name]

    def behind(a: Tensor) -> Tensor:
        return model.tail(a.relu()) if layer == "conv" else model.fc(a.relu().mean((2, 3)))

    chosen = torch.tensor([[0, 3, 2], [1, 0, 3]])
    expected = torch.zeros(value.shape[:2], dtype=torch.float64)
    for n, channels in enumerate(chosen.tolist()):
        full = output[n, 1] + n
        for c in channels:
            without = value[n : n + 1].clone()
            without[:, c] = value[n].min() - 1e7
            expected[n, c] = (full - behind(without)[0, 1] - n) / full
    assert expected.abs().max() > 0.01
    assert_close(ablation_weights(run, name, value, chosen, 1, output, _score, size), expected, 1e-12)


def test_channels_to_ablate():
    a = torch.rand(2, 10, 4, 4, generator=torch.Generator().manual_seed(0))
    for ratio, count in ((1.0, 10), (0.5, 10), (0.39, 6), (0.1, 2), (0.05, 0)):
        chosen = channels_to_ablate(a, ratio)
        assert chosen.shape == (2, count) and all(len(set(row)) == count for row in chosen.tolist())
