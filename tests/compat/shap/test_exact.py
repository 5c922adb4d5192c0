"""ExactExplainer and Explainer against shap's."""

from __future__ import annotations

import numpy as np
import pytest

import reluxfast as rx
from reluxfast.compat.shap import DeepExplainer, ExactExplainer, Explainer, PermutationExplainer
from tests.compat.shap.support import BACKGROUND, D, close, column, perceptron, rows, scalar, settled, shap, vector

X, B = rows(3), rows(BACKGROUND, seed=1)


@pytest.mark.parametrize("f", [scalar, column, vector], ids=lambda f: f.__name__)
def test_values(f):
    ours, theirs = ExactExplainer(f, B)(X), shap.ExactExplainer(f, B)(X, silent=True)
    close(ours.values, theirs.values, 1e-9)
    close(ours.base_values, theirs.base_values, 1e-12)
    assert ours.feature_names == theirs.feature_names and ours.output_names == theirs.output_names
    assert ours.error_std is None and ExactExplainer(f, B)(X, error_bounds=True).error_std is None


def test_expected_value_is_that_of_the_background():
    for f, kind in ((scalar, float), (column, np.ndarray), (vector, np.ndarray)):
        found = ExactExplainer(f, B).expected_value
        assert type(found) is kind and np.shape(found) == f(B).shape[1:]
        assert np.allclose(found, f(B).mean(0), rtol=1e-12)


def test_features_that_do_not_vary():
    """Everywhere, or in some rows; shap cannot explain a row that is the background."""
    x, b = X.copy(), B.copy()
    x[:, 3] = b[:, 3] = 0.5
    x[1, 5] = b[0, 5] = 0.25
    x[2, 0] = b[0, 0]
    for back in (b, b[:1]):
        ours, theirs = ExactExplainer(vector, back)(x), shap.ExactExplainer(vector, back)(x, silent=True)
        close(ours.values, theirs.values, 1e-9)
    assert (ExactExplainer(vector, b[:1])(b[:1]).values == 0).all()


def test_more_features_than_could_be_explained_if_all_varied():
    """Each row varies in other features; together they would cost 2^24."""
    d = 24
    x, b = np.zeros((3, d)), np.zeros((1, d))
    for r in range(3):
        x[r, 8 * r : 8 * r + 8] = rows(1, 8, r)
    ours, theirs = ExactExplainer(vector, b)(x), shap.ExactExplainer(vector, b)(x, silent=True)
    close(ours.values, theirs.values, 1e-9)


def test_what_is_too_costly_is_an_error():
    x = rows(1, 20)
    rule = (
        r"max_evals must be at least 1048576, the masked evaluations it takes to run the Exact explainer on this inst"
    )
    for explainer, message in ((ExactExplainer, rule), (shap.ExactExplainer, "It takes 1048576 masked evaluations")):
        with pytest.raises(ValueError, match=message):
            explainer(scalar, rows(2, 20, 1))(x)
    with pytest.raises(rx.InvalidInput, match="X must not have more than 26 features that vary"):
        ExactExplainer(scalar, rows(2, 27, 1))(rows(1, 27), max_evals=None)
    assert ExactExplainer(scalar, B)(X, max_evals="auto").values.shape == (3, D)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"interactions": 2}, NotImplementedError),
        ({"interactions": True}, NotImplementedError),
        ({"interactions": 3}, NotImplementedError),
        ({"main_effects": True}, NotImplementedError),
        ({"batch_size": 0}, ValueError),
        ({"max_evals": -1}, ValueError),
    ],
    ids=str,
)
def test_what_is_refused(options, kind):
    (argument,) = options
    with pytest.raises(kind) as raised:
        ExactExplainer(scalar, B)(X, **options)
    assert isinstance(raised.value, rx.InvalidInput) and raised.value.argument == argument


def test_interactions_of_order_one_are_none():
    expected = ExactExplainer(scalar, B)(X).values
    for interactions in (1, False):
        assert np.array_equal(ExactExplainer(scalar, B)(X, interactions=interactions).values, expected)


def test_explainer_chooses_as_shap():
    for d in (10, 11):
        b = rows(2, d)
        ours, theirs = Explainer(scalar, b), shap.Explainer(scalar, b)
        assert type(ours).__name__ == type(theirs).__name__
    assert type(Explainer(scalar, B, algorithm="permutation", seed=3)) is PermutationExplainer
    assert type(Explainer(scalar, rows(2, 12), algorithm="exact")) is ExactExplainer
    model = settled(perceptron)
    assert type(Explainer(model, B, algorithm="deep")) is DeepExplainer
    found = Explainer(vector, B, feature_names=list("abcdef"))(X)
    close(found.values, shap.Explainer(vector, B)(X, silent=True).values, 1e-9)
    assert found.feature_names == list("abcdef")
