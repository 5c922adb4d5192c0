"""Explainer as a base and as a choice, and what it and the other names leave to shap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.compat import shap as ours
from tests.compat.shap.support import BACKGROUND, close, perceptron, rows, scalar, settled, shap, vector

tree = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed: there are no trees")
linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed: no linear models")
neural = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed: no estimators")

X, B = rows(3), rows(BACKGROUND, seed=1)


def test_it_is_the_base_of_all():
    model = settled(perceptron)
    for made in (
        ours.Explainer(scalar, B),
        ours.Explainer(scalar, rows(3, 12)),
        ours.Explainer(model, B, algorithm="deep"),
        ours.PermutationExplainer(scalar, B),
        ours.ExactExplainer(scalar, B),
        ours.KernelExplainer(scalar, B),
        ours.GradientExplainer(model, B),
        ours.DeepExplainer(model, B),
    ):
        assert isinstance(made, ours.Explainer)
        assert type(made).__module__.startswith("reluxfast.")


@pytest.mark.parametrize("kind", ["array", "Tensor", "list", "masker"])
def test_backgrounds_that_are_ours(kind):
    given = {"array": B, "Tensor": torch.from_numpy(B), "list": B.tolist(), "masker": ours.maskers.Independent(B)}
    made = ours.Explainer(scalar, given[kind])
    assert type(made) is ours.ExactExplainer
    close(made(X).values, shap.Explainer(scalar, B)(X, silent=True).values, 1e-9)


def test_a_network_of_scikit_learn_is_ours():
    model = neural.MLPRegressor(hidden_layer_sizes=(4,), max_iter=5, random_state=0)
    with pytest.warns(UserWarning):
        model.fit(B, B.sum(1))
    assert type(ours.Explainer(model, B)) is ours.ExactExplainer


def test_trees_and_linear_models_are_shaps():
    many = rows(30, seed=3)
    models = {
        shap.TreeExplainer: tree.RandomForestRegressor(5, random_state=0).fit(many, many[:, 0]),
        shap.LinearExplainer: linear.LinearRegression().fit(many, many[:, 0]),
    }
    for kind, model in models.items():
        for masker in (many, ours.maskers.Independent(many), torch.from_numpy(many)):
            made = ours.Explainer(model, masker)
            assert type(made) is kind
            assert np.array_equal(made(X).values, shap.Explainer(model, many)(X).values)
    forest = models[shap.TreeExplainer]
    assert type(ours.Explainer(forest)) is shap.TreeExplainer
    assert type(ours.Explainer(forest, many, algorithm="tree")) is shap.TreeExplainer


def test_frames_of_our_masker_reach_shaps():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: there are no DataFrames")
    many = pandas.DataFrame(rows(30, seed=3), columns=list("abcdef"))
    model = linear.LinearRegression().fit(many, many["a"])
    assert ours.Explainer(model, ours.maskers.Independent(many))(many[:2]).feature_names == list("abcdef")


def test_other_maskers_and_algorithms_are_shaps():
    made = ours.Explainer(vector, B, algorithm="partition", output_names=list("xyz"))
    assert type(made) is shap.explainers.Partition and made.output_names == list("xyz")
    partition = shap.maskers.Partition(B)
    made = ours.Explainer(vector, partition)
    assert type(made) is shap.ExactExplainer
    close(made(X, silent=True).values, shap.Explainer(vector, partition)(X, silent=True).values, 1e-12)
    assert type(ours.Explainer(vector, partition, algorithm="permutation", seed=1)) is shap.PermutationExplainer


def test_what_nobody_explains():
    for library in (ours, shap):
        with pytest.raises(shap.utils._exceptions.InvalidAlgorithmError) as raised:
            library.Explainer(scalar, B, algorithm="magic")
        with pytest.raises(TypeError):
            library.Explainer(3, B)
        if library is ours:
            assert isinstance(raised.value, rx.InvalidInput)


def test_names_of_outputs():
    names = ["a", "b", "c"]
    assert ours.Explainer(vector, B, output_names=names)(X).output_names == names
    assert ours.Explainer(vector, rows(3, 12), output_names=names)(rows(1, 12)).output_names == names


def test_explainers_by_their_short_names():
    from reluxfast.compat.shap.explainers import Exact, KernelExplainer, Permutation

    assert Permutation is ours.PermutationExplainer and Exact is ours.ExactExplainer
    assert KernelExplainer is ours.explainers.Kernel is ours.KernelExplainer
    assert ours.explainers.Deep is ours.DeepExplainer and ours.explainers.Gradient is ours.GradientExplainer
    assert ours.explainers.Tree is shap.explainers.Tree
    assert ours.__version__ == shap.__version__
    for missing in (ours, ours.explainers):
        for name in ("_nothing", "Nothing"):
            with pytest.raises(AttributeError):
                getattr(missing, name)
