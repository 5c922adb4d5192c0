"""shap's plots take what the facade returns."""

from __future__ import annotations

import numpy as np
import pytest

from reluxfast.compat import shap as ours
from tests.compat.shap.networks import network
from tests.compat.shap.support import perceptron, rows, scalar, settled, shap, vector

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing is drawn")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

X, B = rows(20), rows(7, seed=1)
MADE = {
    "permutation": lambda: ours.PermutationExplainer(scalar, B)(X, error_bounds=True),
    "exact, one of three": lambda: ours.ExactExplainer(vector, B)(X)[..., 1],
    "kernel": lambda: ours.KernelExplainer(scalar, B)(X),
    "module of one output": lambda: ours.PermutationExplainer(settled(lambda: perceptron(outputs=1)), B)(X),
    "gradient": lambda: ours.GradientExplainer(*_perceptron())(X.astype(np.float32), nsamples=5)[..., 0],
    "deep": lambda: ours.DeepExplainer(*_perceptron())(X.astype(np.float32))[..., 2],
}
PLOTS = {
    "beeswarm": lambda e: shap.plots.beeswarm(e, show=False),
    "bar": lambda e: shap.plots.bar(e, show=False),
    "waterfall": lambda e: shap.plots.waterfall(e[0], show=False),
}


def _perceptron():
    model, _, background = network("perceptron")
    return model, background


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("made", MADE)
def test_tables(made, plot):
    found = MADE[made]()
    PLOTS[plot](found)
    figure = plt.gcf()
    figure.canvas.draw()
    assert (np.asarray(figure.canvas.buffer_rgba())[..., :3] != 255).any(-1).mean() > 0.01
    if plot == "waterfall":
        shown = " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text)).replace("−", "-")
        assert f"{float(found.base_values[0]):.3f}".rstrip("0") in shown


def test_images():
    model, x, b = network("image")
    values = ours.DeepExplainer(model, b).shap_values(x)
    shap.image_plot([values[..., k].transpose(0, 2, 3, 1).sum(-1, keepdims=True) for k in range(3)],
                    x.numpy().transpose(0, 2, 3, 1)[..., :1], show=False)  # fmt: skip
    assert len([axes for axes in plt.gcf().axes if axes.get_images()]) >= 3 * 4
