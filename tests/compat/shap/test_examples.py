"""The ways in which people use shap, with the import changed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reluxfast.compat import shap
from reluxfast.extras import MissingExtra
from tests.compat.shap.support import close, rows
from tests.compat.shap.support import shap as peer

linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed: no estimators")


def test_a_classifier_of_a_table():
    """Fit, explain, look at the features that matter most."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    table = load_iris(as_frame=True)
    model = RandomForestClassifier(8, random_state=0).fit(table.data.to_numpy(), table.target)
    background = shap.sample(table.data.to_numpy(), 20)
    explainer = shap.Explainer(model.predict_proba, background, feature_names=list(table.data.columns))
    found = explainer(table.data.iloc[:30:10])
    assert found.feature_names == list(table.data.columns) and found.values.shape == (3, 4, 3)
    expected = peer.Explainer(model.predict_proba, background)(table.data.iloc[:30:10])
    close(found.values, expected.values, 1e-9)
    assert found[..., 0].abs.mean(0).values.argmax() == expected[..., 0].abs.mean(0).values.argmax()


def test_a_kernel_on_a_summary_of_the_data():
    x = rows(60, 8)
    model = linear.LogisticRegression().fit(x, x[:, 0] + x[:, 1] ** 2 > 0.5)
    explainer = shap.KernelExplainer(model.predict_proba, shap.kmeans(x, 5), link="logit")
    expected = peer.KernelExplainer(model.predict_proba, peer.kmeans(x, 5), link="logit")
    values = explainer.shap_values(x[:3], nsamples=300)
    close(values, expected.shap_values(x[:3], nsamples=300, silent=True), 1e-9)
    odds = model.decision_function(x[:3])
    assert np.allclose(values[..., 1].sum(1) + explainer.expected_value[1], odds, rtol=1e-8)


def test_a_digit_by_its_pixels():
    """A convolutional network, a few images as background, the classes that it finds likeliest."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * 3 * 3, 10)),
    ).eval()
    images = torch.rand(12, 1, 12, 12)
    background, test = images[:10], images[10:]
    values = shap.DeepExplainer(model, background).shap_values(test)
    close(values, peer.DeepExplainer(model, background).shap_values(test), 1e-5)
    top, classes = shap.GradientExplainer(model, background).shap_values(test, nsamples=20, ranked_outputs=2)
    assert top.shape == (2, 1, 12, 12, 2)
    assert torch.equal(classes, model(test).argsort(1, descending=True)[:, :2])


def test_other_names_are_shaps():
    assert shap.Explanation is peer.Explanation and shap.plots is peer.plots
    assert shap.TreeExplainer is peer.TreeExplainer and shap.links is not None
    with pytest.raises(AttributeError):
        _ = shap.Nothing


def test_without_shap_values_are_arrays(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    x, b = rows(2), rows(3, seed=1)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    explainers = [
        *(shap.PermutationExplainer(np.sin, b), shap.KernelExplainer(np.sin, b)),
        *(shap.GradientExplainer(model, b), shap.DeepExplainer(model, b)),
    ]
    for explainer in explainers:
        assert explainer.shap_values(x).shape[:2] == (2, 6)
        with pytest.raises(MissingExtra, match=re.escape("pip install 'reluxfast[shap]'")):
            explainer(x)
    with pytest.raises(MissingExtra, match="ExactExplainer"):
        shap.ExactExplainer(np.sin, b)(x)
    with pytest.raises(MissingExtra, match=r"shap\.plots needs shap"):
        _ = shap.plots
    with pytest.raises(ImportError):
        from reluxfast.compat.shap import Explanation  # noqa: F401


def test_importing_the_facade_imports_no_shap():
    code = (
        "import sys, reluxfast.compat.shap; print(sorted(m for m in ('shap', 'pandas', 'sklearn') if m in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert found.stdout.strip() == "[]", found.stderr
