"""Figures of one attribution."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import reluxfast as rx
from reluxfast.errors import InvalidInput
from reluxfast.plots import plot_attribution


def attribution(values, target=0, method="gradient", output=None):
    rows = len(values[0]) if isinstance(values, tuple) else len(values)
    return rx.Attribution(values, torch.arange(rows * 3.0).view(rows, 3) if output is None else output, target, method)


def pixels(figure) -> np.ndarray:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def heat(ax):
    """The drawn map: the last image of the axes."""
    return ax.images[-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_row_shows_image_map_bar_and_title(channels):
    values, images = torch.randn(2, channels, 6, 5), torch.rand(2, channels, 6, 5)
    figure, axes = plot_attribution(attribution(values, [2, 1]), images, classes=["ant", "bee", "cat"])
    assert axes.shape == (2,)
    for row, ax in enumerate(axes):
        assert np.allclose(heat(ax).get_array(), values[row].sum(0).numpy(), atol=1e-6)
        low, high = heat(ax).get_clim()
        assert low == -high
        assert heat(ax).get_cmap().name == "RdBu_r"
        assert heat(ax).get_alpha() == 0.6
        assert len(ax.images) == 2 and ax.images[0].get_cmap().name == "gray"
        assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert heat(axes[0]).get_clim() == heat(axes[1]).get_clim()
    title = axes[0].get_title()
    assert "Gradient" in title and "cat" in title and "logit 2" in title
    assert f"sum of values {values[0].sum():.3g}".replace("-", "−") in title
    assert len(figure.axes) == 5, "two images, two panels and one colour bar"
    assert figure.axes[-1].get_ylabel() == "logits per unit of input; red: for, blue: against"


def test_the_picture_is_red_where_the_value_is_for_and_blue_where_it_is_against():
    values = torch.zeros(1, 1, 2, 2)
    values[0, 0] = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    figure, axes = plot_attribution(attribution(values))
    shown = pixels(figure)
    box = axes[0].get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    middle = int(shown.shape[0] - 60 * (box.y0 + box.y1) / 2)
    left, right = (shown[middle, int(60 * (box.x0 + share * box.width))] for share in (0.25, 0.75))
    assert left[0] > left[2] + 50, "for is red"
    assert right[2] > right[0] + 50, "against is blue"


def test_a_map_without_negative_values_starts_at_zero():
    _, axes = plot_attribution(attribution(torch.rand(1, 1, 4, 4), method="grad_cam"), torch.rand(1, 3, 4, 4))
    assert heat(axes[0]).get_clim()[0] == 0.0
    assert heat(axes[0]).get_cmap().name != "RdBu_r"


def test_each_panel_can_have_its_own_scale():
    values = torch.stack([torch.randn(1, 4, 4), 100 * torch.randn(1, 4, 4)])
    figure, axes = plot_attribution(attribution(values), share_scale=False)
    assert heat(axes[1]).get_clim()[1] > 10 * heat(axes[0]).get_clim()[1]
    assert len(figure.axes) == 4, "two panels, two colour bars"


def test_every_class_gets_a_panel_with_its_own_logit():
    output = torch.tensor([[0.25, -4.5, 7.75]])
    _, axes = plot_attribution(attribution(torch.randn(1, 3, 2, 4, 4), "all", output=output), torch.rand(1, 2, 4, 4))
    assert [("target 0", "0.25"), ("target 1", "−4.5"), ("target 2", "7.75")] == [
        (ax.get_title().splitlines()[0].split(", ")[1], ax.get_title().split("logit ")[1].split(",")[0]) for ax in axes
    ]


@pytest.mark.parametrize(
    ("target", "output", "logit"),
    [
        (None, torch.tensor([1.5, 2.5]), "2.5"),
        (None, torch.tensor([[1.5], [2.5]]), "2.5"),
        (1, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
        (torch.tensor([0, 1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
        ((1, 0), torch.arange(8.0).view(2, 2, 2), "6"),
        ([(0, 0), (1, 1)], torch.arange(8.0).view(2, 2, 2), "7"),
        (torch.tensor(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
        (torch.tensor([1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
        (np.int64(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
        ([np.int32(0), np.int32(1)], torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
        ((np.int64(1), np.int64(0)), torch.arange(8.0).view(2, 2, 2), "6"),
        (-1, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "4"),
    ],
)
def test_the_logit_is_found_for_every_form_of_target(target, output, logit):
    _, axes = plot_attribution(attribution(torch.randn(2, 1, 3, 3), target, output=output))
    assert f"logit {logit}," in axes[1].get_title()


@pytest.mark.parametrize("target", [torch.tensor(1), torch.tensor([1]), torch.tensor([1, 1, 1]), np.int64(1), [1] * 3])
def test_every_target_that_is_explained_can_be_drawn_with_its_class(target):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    _, axes = rx.gradient(model, torch.rand(3, 1, 4, 4), target).plot(classes=["ant", "bee", "cat"])
    assert ["target bee" in ax.get_title() for ax in axes] == [True] * 3


def test_a_target_from_the_end_names_its_class():
    _, axes = plot_attribution(attribution(torch.randn(1, 1, 4, 4), -1), classes=["ant", "bee", "cat"])
    assert "target cat" in axes[0].get_title()


def _lines(axes) -> list[tuple[int, int]]:
    return [(ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start) for ax in axes]


def test_images_stand_beside_their_maps_two_pairs_to_a_line():
    images = torch.rand(5, 3, 6, 6)
    figure, axes = plot_attribution(attribution(torch.randn(5, 3, 6, 6)), images)
    assert _lines(axes) == [(0, 1), (0, 3), (1, 1), (1, 3), (2, 1)]
    pictures = [ax for ax in figure.axes if ax.get_title().startswith("image ")]
    assert _lines(pictures) == [(0, 0), (0, 2), (1, 0), (1, 2), (2, 0)]
    for picture, image in zip(pictures, images, strict=True):
        assert np.allclose(picture.images[0].get_array(), image.permute(1, 2, 0), atol=1e-6)
    width, height = figure.get_size_inches()
    assert 0.5 < width / height < 2


def test_without_images_there_are_four_columns():
    _, axes = plot_attribution(attribution(torch.randn(6, 1, 4, 4)))
    assert _lines(axes) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


def test_the_classes_of_each_image_begin_on_a_line_of_their_own():
    output = torch.randn(2, 5)
    _, axes = plot_attribution(attribution(torch.randn(2, 5, 1, 4, 4), "all", output=output), torch.rand(2, 1, 4, 4))
    assert _lines(axes) == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1)]


def test_a_volume_is_drawn_over_the_same_slice_of_its_image():
    values, image = torch.zeros(1, 1, 3, 2, 2), torch.zeros(1, 1, 3, 2, 2)
    values[0, 0, 1] = 1.0
    image[0, 0, 1, 0, 0], image[0, 0, 2] = 0.5, 9.0
    _, axes = plot_attribution(attribution(values), image)
    assert axes[0].images[0].get_array().tolist() == [[1, 0], [0, 0]]


def test_features_become_bars_the_rest_is_summed():
    values = torch.linspace(1, 0.1, 40)[None].repeat(1, 1)
    values[0, 5] = -9.0
    figure, axes = plot_attribution(attribution(values), feature_names=[f"f{i}" for i in range(40)])
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    widths = [bar.get_width() for bar in axes[0].patches]
    assert labels[0] == "f5" and widths[0] == -9.0
    assert labels[-1] == "other 26" and len(labels) == 15
    assert sum(widths) == pytest.approx(values.sum().item(), rel=1e-6)  # float32 values
    colours = {bar.get_facecolor() for bar in axes[0].patches}
    assert len(colours) == 2
    pixels(figure)


def test_a_signal_is_a_line_on_a_coloured_strip():
    values, signal = torch.randn(1, 2, 30), torch.randn(1, 2, 30)
    figure, axes = plot_attribution(attribution(values), signal)
    assert np.allclose(heat(axes[0]).get_array()[0], values[0].sum(0), atol=1e-6)
    assert [np.allclose(line.get_ydata(), s) for line, s in zip(axes[0].lines, signal[0], strict=True)] == [True, True]
    pixels(figure)


def test_a_volume_names_its_slice():
    values = torch.zeros(1, 1, 4, 3, 3)
    values[0, 0, 2] = 1.0
    _, axes = plot_attribution(attribution(values))
    assert "slice 2 of 4" in axes[0].get_title()


def test_several_inputs_are_drawn_side_by_side():
    values = (torch.randn(2, 1, 4, 4), torch.randn(2, 3))
    figure, axes = plot_attribution(attribution(values))
    assert [ax.get_title().splitlines()[0] for ax in axes] == ["input 0", "input 0", "input 1", "input 1"]
    pixels(figure)


def test_given_axes_are_drawn_on():
    figure = Figure()
    mine = figure.subplots(1, 2)
    returned, axes = plot_attribution(attribution(torch.randn(2, 1, 3, 3)), ax=mine)
    assert returned is figure and list(axes) == list(mine)
    single = Figure().subplots()
    assert plot_attribution(attribution(torch.randn(1, 1, 3, 3)), ax=single)[1][0] is single


def test_wrong_arguments_are_named():
    result = attribution(torch.randn(2, 1, 4, 4))
    with pytest.raises(InvalidInput, match="images must hold one image for each of the 2 rows"):
        plot_attribution(result, torch.rand(3, 1, 4, 4))
    with pytest.raises(InvalidInput, match="images must have the positions of the values"):
        plot_attribution(result, torch.rand(2, 1, 5, 5))
    with pytest.raises(InvalidInput, match="ax must hold one axes for each of the 2 panels"):
        plot_attribution(result, ax=Figure().subplots())
    with pytest.raises(InvalidInput, match="feature_names must hold one name for each of the 3 features"):
        plot_attribution(attribution(torch.randn(1, 3)), feature_names=["a"])
    with pytest.raises(InvalidInput, match="empty batch"):
        plot_attribution(attribution(torch.randn(0, 1, 4, 4)))


def test_plot_method_is_this_plot():
    figure, axes = attribution(torch.randn(1, 1, 4, 4)).plot(images=torch.rand(1, 1, 4, 4))
    assert isinstance(figure, Figure) and len(axes) == 1


def test_drawing_leaves_the_users_matplotlib_alone(tmp_path):
    # Reading rcParams["backend"] would itself choose a backend.
    script = (
        "import sys, torch, matplotlib, reluxfast as rx\n"
        "def settings(): return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "rx.Attribution(torch.randn(1,1,4,4), torch.zeros(1,2), 0, 'gradient').plot()[0].savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot was imported'\n"
        "assert matplotlib.get_backend(auto_select=False) is None, 'a backend was chosen'\n"
        "assert settings() == before, 'settings were changed'\n"
    )
    out = tmp_path / "x.png"
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 1000
