"""KernelExplainer against shap's, where all coalitions are taken, and against exact values where they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

import reluxfast as rx
from reluxfast.compat.shap import ExactExplainer, KernelExplainer
from tests.compat.shap.support import BACKGROUND, D, close, column, probabilities, rows, scalar, shap, vector

X, B = rows(3), rows(BACKGROUND, seed=1)
WIDE, WIDE_BACKGROUND = rows(2, 12), rows(3, 12, 1)


@pytest.mark.parametrize("f", [scalar, column, vector], ids=lambda f: f.__name__)
def test_values(f):
    ours, theirs = KernelExplainer(f, B), shap.KernelExplainer(f, B)
    found, expected = ours(X, silent=True), theirs(X, silent=True)
    close(found.values, expected.values, 1e-9)
    close(found.base_values, expected.base_values, 1e-12)
    assert found.feature_names == expected.feature_names and found.output_names == expected.output_names
    assert type(ours.expected_value) is type(theirs.expected_value)
    assert np.allclose(ours.expected_value, theirs.expected_value, rtol=1e-12)
    close(ours.shap_values(X), theirs.shap_values(X, silent=True), 1e-9)
    close(ours.shap_values(X[1]), theirs.shap_values(X[1], silent=True), 1e-9)


@pytest.mark.parametrize("l1_reg", ["num_features(10)", "num_features(3)", "aic", "bic", 1e-4, 1e-3, False, 0], ids=str)
@pytest.mark.parametrize("f", [scalar, vector], ids=lambda f: f.__name__)
def test_features_are_chosen_as_in_shap(f, l1_reg):
    options = {"nsamples": 1 << 12, "l1_reg": l1_reg}
    ours = KernelExplainer(f, WIDE_BACKGROUND).shap_values(WIDE, **options)
    theirs = shap.KernelExplainer(f, WIDE_BACKGROUND).shap_values(WIDE, silent=True, **options)
    close(ours, theirs, 1e-9)
    assert np.array_equal(ours == 0, theirs == 0)


def test_ten_features_by_default():
    b = rows(2, 30, 1)
    values = KernelExplainer(scalar, b).shap_values(rows(2, 30))
    assert ((values != 0).sum(1) == 10).all()
    gap = scalar(rows(2, 30)) - scalar(b).mean()
    assert np.allclose(values.sum(1), gap, rtol=1e-10)
    whole = KernelExplainer(scalar, b).shap_values(rows(2, 30), l1_reg=False)
    assert (whole != 0).all() and np.allclose(whole.sum(1), gap, rtol=1e-10)


def test_auto_is_deprecated_as_in_shap():
    few = {"nsamples": 400, "l1_reg": "auto"}
    with pytest.warns(DeprecationWarning, match="l1_reg='auto' is deprecated"):
        found = KernelExplainer(scalar, WIDE_BACKGROUND).shap_values(WIDE, **few)
    ours = KernelExplainer(scalar, WIDE_BACKGROUND)
    assert np.array_equal(found, ours.shap_values(WIDE, nsamples=400, l1_reg="aic"))
    with pytest.warns(DeprecationWarning):
        found = ours.shap_values(WIDE, nsamples=1000, l1_reg="auto")
    assert np.array_equal(found, ours.shap_values(WIDE, nsamples=1000, l1_reg=False))


def test_drawn_coalitions_come_near():
    exact = ExactExplainer(vector, WIDE_BACKGROUND)(WIDE).values
    ours = KernelExplainer(vector, WIDE_BACKGROUND).shap_values(WIDE, nsamples=1000, l1_reg=False)
    theirs = shap.KernelExplainer(vector, WIDE_BACKGROUND).shap_values(WIDE, nsamples=1000, l1_reg=False, silent=True)
    off = [float(np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean())) for found in (ours, theirs)]
    assert 0 < off[0] < 0.05 and off[0] < 5 * off[1]
    again = KernelExplainer(vector, WIDE_BACKGROUND).shap_values(WIDE, nsamples=1000, l1_reg=False)
    assert np.array_equal(again, ours)


@pytest.mark.parametrize("f", [probabilities, lambda x: probabilities(x)[:, 0]], ids=["vector", "scalar"])
def test_log_odds(f):
    ours, theirs = KernelExplainer(f, B, link="logit"), shap.KernelExplainer(f, B, link="logit")
    found, expected = ours(X), theirs(X, silent=True)
    close(found.values, expected.values, 1e-9)
    close(found.base_values, expected.base_values, 1e-12)
    assert np.allclose(ours.expected_value, theirs.expected_value, rtol=1e-12)


def test_log_odds_of_certainty_are_finite_as_in_shap():
    f = lambda x: (x[:, 0] > 0).astype(float)  # noqa: E731
    ours = KernelExplainer(f, -np.abs(B), link="logit").shap_values(np.abs(X))
    theirs = shap.KernelExplainer(f, -np.abs(B), link="logit").shap_values(np.abs(X), silent=True)
    assert np.isfinite(ours).all()
    close(ours, theirs, 1e-9)


@pytest.mark.parametrize("link", ["identity", "logit"])
def test_weighted_background(link):
    summary = shap.kmeans(rows(40, seed=3), 4)
    assert len(set(summary.weights)) > 1
    ours = KernelExplainer(probabilities, summary, link=link)
    theirs = shap.KernelExplainer(probabilities, summary, link=link)
    close(ours.shap_values(X), theirs.shap_values(X, silent=True), 1e-9)
    close(ours(X).base_values, theirs(X, silent=True).base_values, 1e-12)
    assert np.allclose(ours.expected_value, theirs.expected_value, rtol=1e-12)


def test_features_that_do_not_vary_get_nothing():
    x, b = WIDE.copy(), WIDE_BACKGROUND.copy()
    x[:, 3] = b[:, 3] = 0.5
    x[1, 7] = 0.25
    b[:, 7] = 0.25
    found = KernelExplainer(vector, b).shap_values(x, l1_reg=False, nsamples=500)
    assert (found[:, 3] == 0).all() and (found[1, 7] == 0).all() and (found[0, 7] != 0).all()
    options = {"l1_reg": False, "nsamples": 1 << 12}
    close(
        KernelExplainer(vector, b).shap_values(x, **options),
        shap.KernelExplainer(vector, b).shap_values(x, silent=True, **options),
        1e-9,
    )
    assert (KernelExplainer(vector, b[:1]).shap_values(b[:1]) == 0).all()


@pytest.mark.parametrize("f", [scalar, column, vector], ids=lambda f: f.__name__)
def test_one_row_without_a_dimension_of_rows(f):
    ours, theirs = KernelExplainer(f, B)(X[0]), shap.KernelExplainer(f, B)(X[0], silent=True)
    close(ours.values, theirs.values, 1e-9)
    close(ours.base_values, theirs.base_values, 1e-12)
    close(ours.data, theirs.data, 0)


def test_no_rows():
    assert KernelExplainer(vector, B).shap_values(X[:0]).shape == (0, D, 3)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"nsamples": 0}, "nsamples"),
        ({"nsamples": 21, "l1_reg": False}, "nsamples"),
        ({"nsamples": "many"}, "nsamples"),
        ({"l1_reg": "lasso"}, "l1_reg"),
        ({"l1_reg": "num_features(0)"}, "l1_reg"),
        ({"l1_reg": -1.0}, "l1_reg"),
        ({"l1_reg": True}, "l1_reg"),
        ({"l1_reg": None}, "l1_reg"),
    ],
    ids=str,
)
def test_wrong_options(options, argument):
    with pytest.raises(rx.InvalidInput) as raised:
        KernelExplainer(scalar, B).shap_values(X, **options)
    assert raised.value.argument == argument


def test_errors_are_of_shaps_types():
    for explainer in (KernelExplainer, shap.KernelExplainer):
        with pytest.raises(TypeError):
            explainer(scalar, B, link="probit")
        with pytest.raises(shap.utils._exceptions.DimensionError):
            explainer(scalar, B).shap_values(X[None])
    with pytest.raises(NotImplementedError, match="keep_index must be left out, got True"):
        KernelExplainer(scalar, B, keep_index=True)
