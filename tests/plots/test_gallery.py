"""The gallery: rows of images, columns of methods."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import reluxfast as rx
from reluxfast.errors import InvalidInput
from reluxfast.plots import plot_gallery
from reluxfast.plots.gallery import Section


def section(images=2, channels=3, size=6, block=1, methods=("gradient", "grad_cam"), seed=0, target=0, classes=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(images, channels, size, size, generator=generator)
    signed = torch.randn(x.shape, generator=generator)
    values = {"gradient": signed, "grad_cam": x[:, :1]}
    results = [rx.Attribution(values[m], torch.tensor([[1.0, 2.0]]).expand(images, 2), target, m) for m in methods]
    return Section(x, results, [f"row {i}" for i in range(images)], classes, block)


def test_one_cell_for_each_image_and_method_and_a_bar_for_each_column():
    sections = [section(2), section(1, channels=1, seed=1)]
    _, axes = plot_gallery(sections, title="all of it")
    assert axes.shape == (3, 3)
    assert [ax.get_title() for ax in axes[0]] == ["Input", "Gradient", "Grad-CAM"]
    assert [ax.get_ylabel().splitlines()[0] for ax in axes[:, 0]] == ["row 0", "row 1", "row 0"]
    shown = axes[1, 1].images[-1].get_array()
    assert np.allclose(shown, sections[0].attributions[0].values[1].sum(0), atol=1e-6)
    assert axes[0, 1].images[-1].get_clim() == axes[1, 1].images[-1].get_clim(), "one scale for a method and section"
    assert axes[0, 1].images[-1].get_clim() != axes[2, 1].images[-1].get_clim()
    low, high = axes[0, 1].images[-1].get_clim()
    assert low == -high and axes[0, 2].images[-1].get_clim()[0] == 0.0


def test_columns_may_have_names_of_their_own():
    """Two forms of one method stand side by side, each on its own scale."""
    twice = section(1, methods=("gradient", "gradient"))
    second = twice.attributions[1]
    twice.attributions[1] = rx.Attribution(100 * second.values, second.output, second.target, second.method)
    _, axes = plot_gallery([twice], columns=["plain", "a hundred times"])
    assert [ax.get_title() for ax in axes[0]] == ["Input", "plain", "a\nhundred times"]
    limits = [axes[0, c].images[-1].get_clim()[1] for c in (1, 2)]
    assert limits[1] == pytest.approx(100 * limits[0]) and limits[0] > 0
    for wrong in ([], ["plain"], ["a", "b", "c"]):
        with pytest.raises(InvalidInput, match=r"columns.* must name the 2 attributions"):
            plot_gallery([twice], columns=wrong)


def test_a_row_says_which_class_is_explained_and_how_the_network_rates_it():
    _, axes = plot_gallery(
        [section(1, classes=("ant", "bee"), target=[0]), section(1, classes=("ant", "bee"), target=1)]
    )
    # softmax of (1, 2)
    assert axes[0, 0].get_ylabel().splitlines() == ["row 0", "why “ant”?", "p = 27%, rank 2 of 2", "(says “bee”)"]
    assert axes[1, 0].get_ylabel().splitlines() == ["row 0", "why “bee”?", "p = 73%, rank 1 of 2"]
    _, axes = plot_gallery([section(1)])
    assert axes[0, 0].get_ylabel().splitlines() == ["row 0", "logit 1.0"]


def test_every_colour_bar_says_what_it_measures():
    figure, _ = plot_gallery([section(1)])
    meanings = [bar.get_xlabel() for ax in figure.axes for bar in ax.child_axes]
    assert [m.replace("\n", " ") for m in meanings] == ["logits per unit of input", "class activation"]


def test_the_picture_decodes_is_full_of_colour_and_nothing_overlaps():
    figure, axes = plot_gallery([section(2, size=12, block=3, classes=("digit ten", "digit nine"))])
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    picture = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    assert picture.std() > 20
    assert (np.abs(picture[..., 0] - picture[..., 2]) > 30).mean() > 0.02, "there is red and blue"
    assert axes[0, 1].images[-1].get_array().shape == (4, 4), "summed over blocks of 3 x 3"
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [ax.get_tightbbox(renderer) for ax in axes.ravel()]
    for i, a in enumerate(boxes):
        assert a.x0 >= 0 and a.y0 >= 0 and a.x1 <= figure.bbox.x1 and a.y1 <= figure.bbox.y1, "inside the figure"
        for b in boxes[i + 1 :]:
            width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert width <= 1 or height <= 1, "two cells lie on each other by more than their frames"


def test_wrong_sections_are_named():
    with pytest.raises(InvalidInput, match="at least one section"):
        plot_gallery([])
    with pytest.raises(InvalidInput, match="must all show the methods"):
        plot_gallery([section(), section(methods=("gradient",))])
    broken = Section(torch.rand(3, 1, 4, 4), section(2).attributions, ["a", "b"])
    with pytest.raises(InvalidInput, match="as many images, row names and values"):
        plot_gallery([broken])
