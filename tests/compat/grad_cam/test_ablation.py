"""Ablation-CAM's own arguments, and how Score-CAM and Ablation-CAM divide their evaluations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.compat.grad_cam import AblationCAM, AblationLayer, AblationLayerVit, ScoreCAM
from tests.compat.grad_cam.networks import Net, Tokens, as_map, images, made
from tests.compat.grad_cam.peer import assert_same_map, theirs


class Signed(nn.Module):
    """What the target layer returns has both signs and is read as it is."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.last, self.fc = nn.Conv2d(6, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.last(self.norm(self.conv(x))).relu().mean((2, 3)))


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act, self.last, self.fc = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.last(self.act(self.conv(x))).relu().mean((2, 3)))


def test_negative_activations():
    """One channel at a time the two agree; in larger batches pytorch-grad-cam's map depends on the batch."""
    model, x = made(Signed, torch.float64), images(2, 3, 9, 12, dtype=torch.float64)
    copied = copy.deepcopy(model)
    expected = theirs.AblationCAM(copied, [copied.norm], batch_size=1)(x, None)
    for size in (1, 4, 32):
        assert_same_map(AblationCAM(model, [model.norm], batch_size=size)(x, None), expected)
    other = theirs.AblationCAM(copied, [copied.norm], batch_size=4)(x, None)
    assert np.abs(other - expected).max() > 0.01


@pytest.mark.parametrize("ratio", [0.15, 0.25, 0.4, 0.5, 1.0])
def test_share_of_the_channels(ratio):
    """Up to 16 channels, of which numpy sorts those that tie by number."""
    model, x = made(Wide, torch.float64), images(2, 3, 9, 12, dtype=torch.float64)
    copied, more = copy.deepcopy(model), {"ratio_channels_to_ablate": ratio}
    expected = theirs.AblationCAM(copied, [copied.act], **more)(x, None)
    assert_same_map(AblationCAM(model, [model.act], **more)(x, None), expected)


def test_large_share_is_all_channels():
    model, x = made(Wide), images(2, 3, 9, 12)
    found = AblationCAM(model, [model.act], ratio_channels_to_ablate=0.7)(x, None)
    assert np.array_equal(found, AblationCAM(model, [model.act])(x, None))


def test_channels_behind_tokens():
    model, x = made(Tokens, torch.float64), images(2, 3, 8, 8, dtype=torch.float64)
    copied = copy.deepcopy(model)
    more = {"reshape_transform": as_map}
    expected = theirs.AblationCAM(copied, [copied.block], ablation_layer=theirs.AblationLayerVit(), **more)(x, None)
    assert_same_map(AblationCAM(model, [model.block], ablation_layer=AblationLayerVit(), **more)(x, None), expected)
    with pytest.raises(ValueError, match="AblationLayerVit"):
        AblationCAM(model, [model.block], ablation_layer=AblationLayer(), **more)(x, None)


@pytest.mark.parametrize("kind", [ScoreCAM, AblationCAM])
def test_batch_size_changes_nothing(kind):
    model, x = made(Net), images(3, 3, 14, 17)
    found = []
    for size in (1, 5, 1000):
        cam = kind(model, ["act3"])
        cam.batch_size = size
        found.append(cam(x, None))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


def test_default_batch_sizes():
    model = made(Net)
    assert AblationCAM(model, ["act3"]).batch_size == 32 and ScoreCAM(model, ["act3"]).batch_size == 16


def test_images_go_with_the_channels_where_the_rest_needs_them():

    class Around(Net):
        def forward(self, x):
            return super().forward(x) + x.mean((2, 3)).sum(1, keepdim=True)

    model, x = made(Around, torch.float64), images(2, 3, 14, 17, dtype=torch.float64)
    copied = copy.deepcopy(model)
    expected = theirs.AblationCAM(copied, [copied.act3])(x, None)
    assert_same_map(AblationCAM(model, ["act3"])(x, None), expected)


def test_score_of_zero():
    """(f - ...) / 0 is no weight: the map is NaN, not something else."""
    model = copy.deepcopy(made(Net))
    nn.init.zeros_(model.fc.weight)
    nn.init.zeros_(model.fc.bias)
    assert np.isnan(AblationCAM(model, ["act3"])(images(1, 3, 14, 17), None)).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("ratio_channels_to_ablate", 0),
        ("ratio_channels_to_ablate", 1.5),
        ("ratio_channels_to_ablate", "all"),
        ("ablation_layer", nn.Identity()),
        ("batch_size", 0),
        ("batch_size", 2.5),
    ],
)
def test_bad_arguments(argument, value):
    model = made(Net)
    with pytest.raises(rx.InvalidInput, match=argument):
        AblationCAM(model, ["act3"], **{argument: value})(images(1, 3, 14, 17), None)
