"""Results in shap's hands: what an Explanation holds, and that every plot draws it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import shap
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn

import reluxfast as rx
from reluxfast.extras import MissingExtra
from tests.coalitions.support import network, rows
from tests.coalitions.tables import breast_cancer, trained

NAMES = [str(name) for name in load_breast_cancer().feature_names]
# Mean, error and worst of one measurement each.
MEASUREMENTS = torch.arange(30) % 10


@pytest.fixture(scope="module")
def table() -> rx.Attribution:
    """Class "benign" of 40 rows of the breast-cancer table."""
    x, y = breast_cancer()
    return rx.shapley(trained(x, y, 32, 16, 2), x[:40], x[100:116], target=1, n_evaluations=58 * 32 + 1)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network of the digits, three images (3, 1, 8, 8) and 16 others as background."""
    data = load_digits()
    x, y = torch.tensor(data.images / 16).float().unsqueeze(1), torch.tensor(data.target)
    model = nn.Sequential(nn.Flatten(), *trained(x.flatten(1), y, 32, 10, epochs=15)).eval()
    return model, x[:3], x[100:116]


@pytest.fixture(autouse=True)
def _headless():
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    plt.close("all")
    matplotlib.use(before)


def adds_up(explanation: shap.Explanation, output: torch.Tensor, players: tuple[int, ...] = (1,)) -> None:
    gap = explanation.base_values + explanation.values.sum(players) - output.double().numpy()
    assert np.abs(gap).max() < 1e-5 * np.abs(output.numpy()).max()


def test_one_output(table):
    found = table.to_shap(feature_names=NAMES)
    assert found.values.shape == (40, 30) and found.values.dtype == found.base_values.dtype == np.float64
    assert found.base_values.shape == (40,) and found.feature_names == NAMES
    assert np.array_equal(found.values, table.values.double().numpy())
    assert np.array_equal(found.error_std, table.standard_error.double().numpy())
    assert np.array_equal(found.data, table.inputs.numpy()) and found.data.dtype == np.float64
    adds_up(found, table.output[:, 1])


@pytest.mark.parametrize("inner", [(3,), (2, 2)])
def test_several_outputs(inner):
    x = rows(4, 6).double()
    count = int(np.prod(inner))
    model = nn.Sequential(network(6, count), nn.Unflatten(1, inner)).double()
    result = rx.shapley(model, x, rows(2, 6, 3).double(), estimator="permutation")
    names = [f"output {k}" for k in range(count)]
    found = result.to_shap(output_names=names)
    assert found.values.shape == found.error_std.shape == (4, 6, count) and found.base_values.shape == (4, count)
    assert list(found.output_names) == names and found.feature_names is None
    for k in range(count):
        at = np.unravel_index(k, inner)
        assert np.array_equal(found.values[:, :, k], result.values[(slice(None), *at)].numpy())
        assert np.array_equal(found.error_std[:, :, k], result.standard_error[(slice(None), *at)].numpy())
    adds_up(found, result.output.flatten(1))
    assert found[0, ..., names[1]].values.shape == (6,)


def test_exact_values_have_no_errors_and_half_types_leave_as_numbers():
    result = rx.shapley(lambda batch: batch.sum(1), rows(3, 5).bfloat16(), estimator="exact")
    found = result.to_shap()
    assert found.error_std is None and found.values.dtype == found.data.dtype == np.float64
    assert np.array_equal(found.data, result.inputs.double().numpy())


def test_what_has_left_is_a_copy():
    x, model = rows(2, 6).double(), network(6).double()
    result = rx.shapley(model, x, estimator="permutation", target=0)
    kept = [t.clone() for t in (x, result.values, result.standard_error, result.base_value)]
    found = result.to_shap()
    for array in (found.values, found.base_values, found.data, found.error_std):
        array[:] = -1
    for now, before in zip((x, result.values, result.standard_error, result.base_value), kept, strict=True):
        assert torch.equal(now, before)


def test_kernel_shap_leaves_too():
    result = rx.kernel_shap(network(6), rows(3, 6), target=2)
    adds_up(result.to_shap(), result.output[:, 2])


def test_groups_have_the_mean_of_their_elements():
    x, names = rows(4, 30).double(), NAMES[:10]
    result = rx.shapley(network(30).double(), x, players=MEASUREMENTS, target=0, estimator="permutation")
    found = result.to_shap(feature_names=names)
    assert found.values.shape == found.data.shape == (4, 10) and found.feature_names == names
    assert np.allclose(found.data, x.view(4, 3, 10).mean(1).numpy(), rtol=1e-14)
    adds_up(found, result.output[:, 0])
    single = rx.shapley(network(30).double(), x, players=torch.arange(30), target=0, estimator="permutation")
    assert np.array_equal(single.to_shap().data, x.numpy())


def test_rows_with_players_of_their_own():
    x = torch.arange(12.0).view(2, 6).double()
    players = torch.tensor([[0, 0, 1, 1, 2, 2], [5, 5, 5, 9, 9, 9]])
    found = rx.shapley(network(6).double(), x, players=players, target=0).to_shap()
    assert np.array_equal(found.data, [[0.5, 2.5, 4.5], [7, 10, np.nan]], equal_nan=True)
    assert found.values[1, 2] == 0 and (found.values[0] != 0).all()


@pytest.mark.parametrize("players", [None, rx.patches(3), rx.superpixels(9, 0.1)], ids=["pixels", "patches", "regions"])
@pytest.mark.parametrize("target", [None, 3])
def test_images(digits, players, target):
    model, x, background = digits
    # Three channels, of which the network sees the second.
    model, x = nn.Sequential(Channel(), model).eval(), torch.cat([x / 2, x, x / 3], 1)
    background = background.expand(-1, 3, -1, -1)
    result = rx.shapley(model, x, background, target=target, players=players, estimator="permutation")
    found = result.to_shap(images=True)
    outputs = () if target is not None else (10,)
    assert found.values.shape == found.error_std.shape == (3, 8, 8, 3, *outputs)
    assert found.base_values.shape == (3, *outputs)
    assert np.array_equal(found.data, x.permute(0, 2, 3, 1).numpy())
    adds_up(found, result.output if target is None else result.output[:, target], (1, 2, 3))
    # One element, found again by hand: its player's value by the number of elements the player owns.
    names = result.options["players"]
    names = torch.arange(192).view(1, 3, 8, 8) if names is None else names
    names = names.expand(3, -1, -1, -1)[2]
    owner = int(names.unique().tolist().index(int(names[1, 4, 5])))
    size = int((names == names[1, 4, 5]).sum())
    for whole, each in ((result.values, found.values), (result.standard_error, found.error_std)):
        whole = whole.flatten(1 + len(outputs))[2, ..., owner].double().numpy()
        assert np.allclose(each[2, 4, 5, 1], whole / size, rtol=1e-6)
    assert np.abs(found.values[2, 4, 5, 1]).max() > 0


class Channel(nn.Module):
    """The second of several channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:2]


TABLE_PLOTS = {
    "beeswarm": lambda e: shap.plots.beeswarm(e, show=False),
    "bar": lambda e: shap.plots.bar(e, show=False),
    "waterfall": lambda e: shap.plots.waterfall(e[0], show=False),
    "force": lambda e: shap.plots.force(e[0], matplotlib=True, show=False),
    "heatmap": lambda e: shap.plots.heatmap(e, show=False),
    "scatter": lambda e: shap.plots.scatter(e[:, 3], color=e[:, 0], show=False),
}


def drawn() -> tuple[str, float]:
    """Every text of the current figure, and the share of its pixels that are not white."""
    figure = plt.gcf()
    figure.canvas.draw()
    texts = " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    return texts, float((pixels != 255).any(-1).mean())


@pytest.mark.parametrize("plot", TABLE_PLOTS)
@pytest.mark.parametrize("players", [None, MEASUREMENTS], ids=["features", "groups"])
def test_plots_of_tables(table, plot, players):
    result, names = table, NAMES
    if players is not None:
        x, y = breast_cancer()
        names = NAMES[:10]
        result = rx.shapley(trained(x, y, 32, 16, 2), x[:40], target=1, players=players)
    found = result.to_shap(feature_names=names)
    TABLE_PLOTS[plot](found)
    texts, ink = drawn()
    assert ink > 0.01
    largest = names[np.abs(found.values[0] if plot in ("waterfall", "force") else found.values.mean(0)).argmax()]
    assert (names[3] if plot == "scatter" else largest) in texts
    if plot in ("waterfall", "force"):
        assert f"{float(result.output[0, 1]):.2f}" in texts.replace("−", "-")


def test_plot_of_images(digits):
    model, x, background = digits
    result = rx.shapley(model, x, background, players=rx.patches(2), estimator="permutation")
    shap.plots.image(result.to_shap(images=True, output_names=[f"digit {k}" for k in range(10)]), show=False)
    texts, ink = drawn()
    assert ink > 0.05 and "digit 0" in texts and "digit 9" in texts
    panels = [axes for axes in plt.gcf().axes if axes.get_images()]
    assert len(panels) == 3 * 11
    # The panel of image 1 and output 4 shows each patch in one colour, its values on the image's own scale.
    shown = np.asarray(panels[11 + 5].get_images()[-1].get_array())
    assert shown.shape == (8, 8) and np.array_equal(shown, shown[::2, ::2].repeat(2, 0).repeat(2, 1))
    assert np.allclose(shown.sum(), result.values[1, 4].sum(), atol=1e-5)


def test_what_does_not_sum_to_the_output_is_refused():
    x, model = rows(2, 6), network(6)
    message = "to_shap is for shapley and kernel_shap, whose values sum to the output from a base value on, got"
    for result in (
        rx.gradient(model, x, target=0),
        rx.integrated_gradients(model, x, target=0),
        rx.lime(model, x),
        rx.feature_ablation(model, x),
        rx.occlusion(model, x, window=2),
    ):
        with pytest.raises(rx.InvalidInput, match=f"{message} {result.method}"):
            result.to_shap()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_names": ["a"]}, "feature_names must name 6 players, got 1"),
        ({"feature_names": 4}, "feature_names must be a list of names, got 4"),
        ({"feature_names": "abcdef"}, "feature_names must be a list of names, got 'abcdef'"),
        ({"output_names": ["a"]}, "output_names must name 3 outputs, got 1"),
        ({"images": True}, r"images is for inputs \(N, C, H, W\), got inputs \(2, 6\)"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(rx.InvalidInput, match=message):
        rx.shapley(network(6), rows(2, 6)).to_shap(**options)


def test_names_that_have_no_meaning_are_refused(digits):
    model, x, _ = digits
    result = rx.shapley(model, x, target=0, estimator="permutation")
    with pytest.raises(rx.InvalidInput, match="feature_names have no meaning for images"):
        result.to_shap(feature_names=["a"] * 64, images=True)
    with pytest.raises(rx.InvalidInput, match="output_names need several outputs, got 1"):
        result.to_shap(output_names=["a"])


def test_without_shap_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    result = rx.shapley(network(6), rows(2, 6))
    with pytest.raises(MissingExtra, match=re.escape("pip install 'reluxfast[shap]'")) as raised:
        result.to_shap()
    extras = (Path(__file__).parents[2] / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    assert re.search(rf'^{raised.value.extra} = \["{raised.value.package}[>=]', extras, re.MULTILINE)
