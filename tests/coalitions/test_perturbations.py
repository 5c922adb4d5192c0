"""Feature ablation, occlusion and RISE against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.methods.rise import _Masks
from tests.coalitions.support import array, close, network, normal, on_device, rows
from tests.oracles import coalitions as oracle


def images(channels=2, height=7, width=9):
    features = 3 * (height - 2) * (width - 2)
    model = on_device(
        lambda: nn.Sequential(nn.Conv2d(channels, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(features, 2)).double()
    )
    return model, normal(2, channels, height, width, seed=0).double()


@pytest.mark.parametrize("labels", [None, [0, 1, 1, 2, 0, 3, 3, 3]])
def test_feature_ablation(labels):
    x, background, model = rows(3, 8).double(), rows(2, 8, 2).double(), network(8).double()
    players = None if labels is None else torch.tensor(labels)
    result = rx.feature_ablation(model, x, background, players=players)
    f, each = oracle.from_module(model), np.arange(8) if labels is None else np.array(labels)
    n = each.max() + 1
    expected = [oracle.feature_ablation(f, array(row), array(background), each, n).T for row in x]
    close(result.values, np.stack(expected), 1e-12)
    assert result.n_evaluations == 2 * n + 1


@pytest.mark.parametrize(
    ("window", "stride", "full", "steps"),
    [
        (3, 2, (2, 3, 3), (2, 2, 2)),
        (3, None, (2, 3, 3), (2, 3, 3)),
        ((2, 4), (1, 3), (2, 2, 4), (2, 1, 3)),
        ((1, 3, 2), (1, 3, 1), (1, 3, 2), (1, 3, 1)),
        (1, 1, (2, 1, 1), (2, 1, 1)),
        (50, 50, (2, 7, 9), (2, 7, 9)),
    ],
)
def test_occlusion(window, stride, full, steps):
    model, x = images()
    baseline = normal(2, 7, 9, seed=1).double()
    result = rx.occlusion(model, x, baseline, window=window, stride=stride)
    f = oracle.from_module(model)
    expected = [oracle.occlusion(f, array(row), array(baseline), full, steps) for row in x]
    close(result.values, np.moveaxis(np.stack(expected), -1, 1), 1e-12)
    last = rx.occlusion(model, x.to(memory_format=torch.channels_last), baseline, window=window, stride=stride)
    close(last.values, result.values, 1e-12)


def test_occlusion_of_tables_and_windows_that_hide_nothing():
    x, model = rows(2, 6).double(), network(6, 1).double()
    f = oracle.from_module(model)
    result = rx.occlusion(model, x, window=2, stride=1)
    expected = np.stack([oracle.occlusion(f, array(row), 0.0, (2,), (1,))[:, 0] for row in x])
    close(result.values, expected, 1e-12)
    with pytest.raises(rx.InvalidInput, match=r"stride must not exceed the window along dimension 0 \(2\), got 3"):
        rx.occlusion(model, x, window=2, stride=3)
    with pytest.raises(rx.InvalidInput, match="window must hold positive ints for the dimensions of a row"):
        rx.occlusion(model, x, window=(2, 2, 2))


@pytest.mark.parametrize("channels_last", [False, True])
def test_rise(channels_last):
    model, x = images(2, 16, 13)
    given = x.to(memory_format=torch.channels_last) if channels_last else x
    baseline = normal(2, 16, 13, seed=1).double()
    result = rx.rise(model, given, baseline, n_evaluations=40, grid=4, probability=0.3, seed=5)
    masks = _Masks(40, 4, 0.3, (16, 13), 5)[:].double()
    f = oracle.from_module(model)
    for row in range(2):
        blended = array(masks[:, None] * x[row].cpu() + (1 - masks[:, None]) * baseline.cpu())
        expected = oracle.rise(f(blended), array(masks), 0.3)
        close(result.values[row], np.broadcast_to(np.moveaxis(expected, -1, 0)[:, None], (2, 2, 16, 13)), 1e-6)
        each = f(blended)[:, :, None, None] * array(masks)[:, None] / 0.3
        error = each.std(0, ddof=1) / 40**0.5
        close(result.standard_error[row, :, 0], error, 1e-6)


def test_masks_of_rise_do_not_depend_on_the_batch():
    model, x = images(2, 16, 13)
    whole = rx.rise(model, x, n_evaluations=30)
    cut = rx.rise(model, x, n_evaluations=30, batch_size=7)
    close(cut.values, whole.values, 1e-12)
    assert abs(float(_Masks(500, 7, 0.5, (28, 28), 0)[:].mean()) - 0.5) < 0.02


def test_rise_wants_images():
    with pytest.raises(rx.InvalidInput, match="x must hold images"):
        rx.rise(network(6), rows(2, 6))
    model, x = images()
    with pytest.raises(rx.InvalidInput, match="baselines must be one row for rise, got 2 rows"):
        rx.rise(model, x, torch.zeros(2, 2, 7, 9))
