"""Boosted trees through the callable path against shap's own exact values, for the same background."""

from __future__ import annotations

import numpy as np
import pytest
import shap
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

import reluxfast as rx

TABLE = load_breast_cancer()
X, BACKGROUND = TABLE.data[:6], TABLE.data[100:120]
# Mean, error and worst of one measurement each.
MEASUREMENTS = np.arange(30) % 10


def boosted(columns: slice) -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=40, random_state=0).fit(TABLE.data[:, columns], TABLE.target)


class Grouped:
    """A masker of shap: each entry of a mask stands for the three columns of a measurement."""

    shape = (len(BACKGROUND), 10)

    def mask_shapes(self, row: np.ndarray) -> list[tuple[int]]:
        return [(10,)]

    def __call__(self, mask: np.ndarray, row: np.ndarray) -> np.ndarray:
        return np.where(mask[MEASUREMENTS], row, BACKGROUND)


def within_errors(found: rx.Attribution, expected: np.ndarray) -> None:
    z = (found.values.numpy() - expected) / (found.standard_error.numpy() + 1e-9)
    # 180 comparisons at most with at least 99 degrees of freedom: a t quantile at 1 - 0.001/360.
    assert 0.5 < np.abs(z).max() < 4.9


@pytest.mark.parametrize("output", ["decision_function", "predict_proba"])
def test_ten_features_are_those_of_the_exact_explainer(output):
    model = boosted(slice(10))
    f = getattr(model, output)
    x, background = X[:, :10], BACKGROUND[:, :10]
    masker = shap.maskers.Independent(background, max_samples=len(background))
    theirs = shap.explainers.Exact(f, masker)(x)
    exact = rx.shapley(f, x, background, estimator="exact", n_evaluations=1 << 20)
    ours = exact.to_shap()
    assert ours.values.shape == theirs.values.shape
    scale = np.abs(theirs.values).max()
    assert np.abs(ours.values - theirs.values).max() <= 1e-6 * scale
    assert np.abs(ours.base_values - theirs.base_values).max() <= 1e-6 * scale
    assert np.array_equal(ours.data, theirs.data)


def test_grouped_columns_are_those_of_the_exact_explainer():
    f = boosted(slice(None)).decision_function
    theirs = shap.explainers.Exact(f, Grouped())(X).values
    exact = rx.shapley(f, X, BACKGROUND, players=MEASUREMENTS, estimator="exact", n_evaluations=1 << 20)
    assert np.abs(exact.values.numpy() - theirs).max() <= 1e-6 * np.abs(theirs).max()
    sampled = rx.shapley(f, X, BACKGROUND, players=MEASUREMENTS, estimator="permutation", n_evaluations=18 * 100 + 1)
    within_errors(sampled, theirs)


def test_all_features_are_those_of_the_tree_explainer():
    model = boosted(slice(None))
    masker = shap.maskers.Independent(BACKGROUND, max_samples=len(BACKGROUND))
    theirs = shap.TreeExplainer(model, masker, feature_perturbation="interventional")(X)
    sampled = rx.shapley(model.decision_function, X, BACKGROUND, estimator="permutation", n_evaluations=58 * 100 + 1)
    within_errors(sampled, theirs.values)
    assert np.abs(sampled.base_value.numpy() - theirs.base_values).max() < 1e-6
