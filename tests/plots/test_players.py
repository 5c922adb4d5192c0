"""Attributions whose values belong to players rather than to positions."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import reluxfast as rx


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def heat(ax):
    """What an axes shows on top."""
    return ax.get_images()[-1].get_array()


@pytest.mark.parametrize("own", [False, True])
def test_positions_show_their_players_value_once(model, own):
    x = torch.randn(2, 3, 8, 8)
    grid = (torch.arange(8) // 4)[:, None] * 2 + torch.arange(8) // 4
    players = torch.stack([grid, grid.t()])[:, None].expand(2, 3, 8, 8) if own else grid
    result = rx.shapley(model, x, target=1, players=players)
    figure, axes = result.plot(x)
    for row, ax in enumerate(axes):
        names = players[row, 0] if own else grid
        assert torch.allclose(torch.as_tensor(heat(ax).filled()), result.values[row][names].double(), atol=1e-6)
        assert f"sum of values {float(result.values[row].sum()):.3g}".replace("-", "−") in ax.get_title()
        assert ax.get_title().startswith("Shapley values, target 1")
    plt.close(figure)


def test_every_output_has_a_panel_unless_one_is_chosen(model):
    x = torch.randn(2, 3, 8, 8)
    figure, axes = rx.shapley(model, x, players=rx.patches(4)).plot(x)
    assert len(axes) == 6 and [f"target {k}" in ax.get_title() for k, ax in enumerate(axes[:3])] == [True] * 3
    plt.close(figure)


def test_features_are_bars():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)).eval()
    for players, count in ((None, 5), (torch.tensor([0, 0, 1, 1, 2]), 3)):
        figure, axes = rx.shapley(net, torch.randn(2, 5), players=players).plot()
        assert len(axes) == 2 and len(axes[0].patches) == count
        plt.close(figure)
