"""Links against shap's, and what linearising means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.compat.shap import ExactExplainer, PermutationExplainer, links
from tests.compat.shap.support import BACKGROUND, close, perceptron, probabilities, rows, settled, shap, within_errors

X, B = rows(3), rows(BACKGROUND, seed=1)
ONE = lambda x: probabilities(x)[:, 0]  # noqa: E731


@pytest.mark.parametrize("linearize", [True, False])
@pytest.mark.parametrize("f", [probabilities, ONE], ids=["vector", "scalar"])
def test_log_odds(f, linearize):
    options = {"link": shap.links.logit, "linearize_link": linearize}
    ours, theirs = ExactExplainer(f, B, **options)(X), shap.ExactExplainer(f, B, **options)(X, silent=True)
    close(ours.values, theirs.values, 1e-9)
    close(ours.base_values, theirs.base_values, 1e-12)
    # Ours takes any function of arrays.
    close(ExactExplainer(f, B, **{**options, "link": links.logit})(X).values, ours.values, 1e-12)
    assert np.allclose(ExactExplainer(f, B, **options).expected_value, ours.base_values[0], rtol=1e-12)


def test_the_identity_is_known_by_either_name():
    expected = ExactExplainer(probabilities, B)(X).values
    assert links.is_identity(shap.links.identity) and links.is_identity(links.identity)
    assert not links.is_identity(shap.links.logit)
    assert np.array_equal(ExactExplainer(probabilities, B, link=shap.links.identity)(X).values, expected)
    close(ExactExplainer(probabilities, B, link=lambda x: 1 * x)(X).values, expected, 1e-12)


def test_sampled_values_within_their_errors():
    options = {"link": links.logit}
    # Marginals of log-odds are skew: the t distribution needs more than a few pairs.
    found = PermutationExplainer(probabilities, B, **options)(X, max_evals=300 * 13, error_bounds=True)
    exact = ExactExplainer(probabilities, B, **options)(X)
    within_errors(found.values, found.error_std, exact.values, 300)
    close(found.values.sum(1) + found.base_values, links.logit(probabilities(X)), 1e-12)
    again = PermutationExplainer(probabilities, B, **options)(X, batch_size=3)
    whole = PermutationExplainer(probabilities, B, **options)(X)
    close(again.values, whole.values, 1e-12)


def test_modules_and_features_that_do_not_vary():
    model = settled(perceptron).double()
    b = B.copy()
    x = X.copy()
    x[:, 2] = b[:, 2] = 1
    cube = lambda y: y**3  # noqa: E731
    found = ExactExplainer(model, b, link=cube)(x)
    function = lambda v: model(torch.from_numpy(v)).detach().numpy()  # noqa: E731
    close(found.values, ExactExplainer(function, b, link=cube)(x).values, 1e-9)
    assert (found.values[:, 2] == 0).all()
    same = ExactExplainer(model, b[:1], link=cube)(b[:1])
    assert (same.values == 0).all() and np.allclose(same.base_values, cube(function(b[:1])), rtol=1e-12)
    assert PermutationExplainer(model, b, link=cube)(x[:0]).values.shape == (0, 6, 3)


def test_weights_of_a_linear_link():
    outputs = probabilities(B)
    weights = links.linearizing_weights(outputs, links.logit)
    assert np.allclose(weights.mean(0), 1, rtol=1e-12) and (weights > 0).all()
    assert np.allclose((weights * links.logit(outputs)).mean(0), links.logit(outputs.mean(0)), rtol=1e-10)
    # One row, rows alike, and a row at the mean: shap has NaN there.
    assert np.array_equal(links.linearizing_weights(outputs[:1], links.logit), np.ones((1, 3)))
    assert np.array_equal(links.linearizing_weights(outputs[[0, 0]], links.logit), np.ones((2, 3)))
    middle = np.array([[0.2], [0.5], [0.8]])
    close = links.linearizing_weights(np.array([[0.2], [0.5 + 1e-7], [0.8]]), links.logit)
    assert np.allclose(links.linearizing_weights(middle, links.logit), close, rtol=1e-4)


def test_what_is_not_finite_is_an_error():
    certain = lambda x: (x[:, 0] > 0).astype(float)  # noqa: E731
    with pytest.warns(RuntimeWarning), pytest.raises(rx.ReluxfastError, match="f must return finite numbers"):
        ExactExplainer(certain, B, link=links.logit)(X)
