"""What models, backgrounds and rows may be."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.compat.shap import ExactExplainer, KernelExplainer, PermutationExplainer
from tests.compat.shap.support import BACKGROUND, D, close, perceptron, rows, scalar, settled, shap, vector
from tests.support import assert_untouched, fingerprint

pandas = pytest.importorskip("pandas", reason="pandas is not installed: there are no DataFrames")
sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed: there are no sparse matrices")
neural = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed: no estimators")

X, B = rows(3), rows(BACKGROUND, seed=1)
NAMES = [f"measure {i}" for i in range(D)]
EXPLAINERS = [PermutationExplainer, ExactExplainer, KernelExplainer]


def frame(x: np.ndarray):
    return pandas.DataFrame(x, columns=NAMES)


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_tensors_and_arrays_of_other_dtypes(explainer):
    """A function is given float64 arrays whatever it is explained for."""

    def function(x):
        assert type(x) is np.ndarray and x.dtype == np.float64 and x.shape[1] == D
        return vector(x)

    single = X.astype(np.float32)
    expected = explainer(vector, B)(single.astype(np.float64)).values
    for x in (single, torch.from_numpy(single), torch.from_numpy(single.astype(np.float64))):
        found = explainer(function, B)(x)
        close(found.values, expected, 1e-12)
        assert type(found.data) is np.ndarray and np.array_equal(found.data, np.asarray(x))
    close(explainer(function, torch.from_numpy(B))(single).values, expected, 1e-12)
    whole = explainer(lambda x: vector(x), np.round(B).astype(int))(np.round(X).astype(int))
    close(whole.values, explainer(vector, np.round(B))(np.round(X)).values, 1e-12)
    assert whole.data.dtype == np.int64


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_frames(explainer):
    """Their columns are the features' names; as background they make the model see frames, but for KernelExplainer."""
    seen = set()

    def function(x):
        seen.add(type(x))
        return vector(np.asarray(x))

    peer = getattr(shap, explainer.__name__)
    for x in (frame(X), X):
        found = explainer(function, frame(B))(x)
        expected = peer(function, frame(B))(x)
        assert found.feature_names == expected.feature_names
        assert type(found.data) is type(expected.data) and found.values.shape == expected.values.shape
        close(found.values, explainer(vector, B)(X).values, 1e-12)
    kernel = explainer is KernelExplainer
    seen.clear()
    found = explainer(function, frame(B))(frame(X))
    assert seen == {np.ndarray if kernel else pandas.DataFrame}
    assert found.feature_names == NAMES
    named = explainer(vector, B, feature_names=list("abcdef"))
    assert named(X).feature_names == list("abcdef") and named(frame(X)).feature_names == NAMES


def test_series_are_single_rows_for_the_kernel():
    series = frame(X).iloc[1]
    close(KernelExplainer(vector, B).shap_values(series), KernelExplainer(vector, B).shap_values(X[1]), 1e-12)
    one = KernelExplainer(vector, frame(B).iloc[0])
    close(one.shap_values(X), KernelExplainer(vector, B[:1]).shap_values(X), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_modules(explainer, dtype):
    model = settled(perceptron).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9

    def function(x):
        return model(torch.from_numpy(x).to(dtype)).detach().numpy().astype(np.float64)

    expected = explainer(function, B)(X)
    for x, b in ((X, B), (torch.from_numpy(X).to(dtype), torch.from_numpy(B).to(dtype)), (frame(X), frame(B))):
        found = explainer(model, b)(x)
        close(found.values, expected.values, tolerance)
        close(found.base_values, expected.base_values, tolerance)
    assert np.allclose(explainer(model, B).expected_value, explainer(function, B).expected_value, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_modules_of_half_type(dtype):
    model = settled(perceptron)
    x, b = (torch.from_numpy(v).to(dtype) for v in (X, B))
    found = ExactExplainer(model.to(dtype), b)(x)
    expected = ExactExplainer(model.float(), b.float())(x.float())
    # Results are rounded to the dtype of x.
    close(found.values, expected.values, torch.finfo(dtype).eps / 2)
    assert found.data.dtype == (np.float16 if dtype == torch.float16 else np.float32)


def test_a_single_output_of_a_module_has_no_dimension():
    model = settled(lambda: perceptron(outputs=1))
    found = PermutationExplainer(model, B)(X)
    assert found.values.shape == (3, D) and found.base_values.shape == (3,)


def test_perceptrons_take_their_fast_way(monkeypatch):
    from reluxfast.compat.shap import game

    seen, explain = [], game.explain_function

    def watched(*args, **options):
        seen.append(explain(*args, **options))
        return seen[-1]

    monkeypatch.setattr(game, "explain_function", watched)
    PermutationExplainer(settled(perceptron), B)(X)
    assert seen[0].options["path"] == "mlp" and seen[0].options["background_mode"] == "all"


def fitted(network, **options):
    y = (X @ np.arange(D) > 0).astype(int) if network is neural.MLPClassifier else X.sum(1)
    y[:2] = [0, 1]
    return network(hidden_layer_sizes=(7,), max_iter=5, random_state=0, **options).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_networks_of_scikit_learn(explainer):
    """Their methods are functions as others; themselves they are explained before their output activation."""
    classifier, regressor = fitted(neural.MLPClassifier), fitted(neural.MLPRegressor)
    peer = getattr(shap, explainer.__name__)
    for function in (classifier.predict_proba, regressor.predict):
        found, expected = explainer(function, B)(X), peer(function, B)(X)
        assert found.values.shape == expected.values.shape
        if explainer is not PermutationExplainer:
            close(found.values, expected.values, 1e-9)
        close(found.base_values, expected.base_values, 1e-9)
    close(explainer(regressor, B)(X).values, explainer(regressor.predict, B)(X).values, 1e-9)
    assert np.allclose(explainer(regressor, B).expected_value, regressor.predict(B).mean(), rtol=1e-12)

    def odds(x):
        p = classifier.predict_proba(x)[:, 1]
        return np.log(p / (1 - p))

    found = explainer(classifier, B)(X)
    assert found.base_values.shape == (3,)
    close(found.values, explainer(odds, B)(X).values, 1e-9)


def test_estimators_that_are_no_networks_are_refused():
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(X, X.sum(1))
    with pytest.raises(rx.InvalidInput, match=r"must be MLPClassifier or MLPRegressor.*Pass model.predict"):
        PermutationExplainer(model, B)(X)
    assert PermutationExplainer(model.predict, B)(X).values.shape == (3, D)


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_what_is_no_table_is_refused(explainer):
    dimensions = shap.utils._exceptions.DimensionError
    for kind in (ValueError, TypeError):
        with pytest.raises(kind, match=r"(masker|data) cannot be None, got None"):
            explainer(scalar, None)
    with pytest.raises(dimensions, match=r"X must have 6 features, as the background has, got 5"):
        explainer(scalar, B)(X[:, :5])
    with pytest.raises(dimensions, match=r"must have rows of features \(N, d\), got shape \(6,\)"):
        explainer(scalar, B[0])
    with pytest.raises(rx.InvalidInput, match=r"must have rows, got shape \(0, 6\)"):
        explainer(scalar, B[:0])
    with pytest.raises(TypeError, match="must hold numbers"):
        explainer(scalar, B)(np.array([["a"] * D]))
    with pytest.raises(TypeError, match="a DataFrame with other columns"):
        explainer(scalar, B)(frame(X).assign(**{NAMES[0]: ["a", "b", "c"]}))
    with pytest.raises(NotImplementedError, match=r"must be dense, got csr_matrix\. Convert it with \.toarray\(\)"):
        explainer(scalar, B)(sparse.csr_matrix(X))
    with pytest.raises(TypeError, match="model must be callable"):
        explainer("model", B)


def test_rows_of_more_dimensions_are_refused():
    with pytest.raises(rx.InvalidInput, match=r"X must have rows of features \(N, d\)"):
        PermutationExplainer(scalar, B)(X[None])
    with pytest.raises(NotImplementedError, match="X must be one table of rows, got 2 arguments"):
        PermutationExplainer(scalar, B)(X, X)


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_outputs_of_more_dimensions_are_refused(explainer):
    """Before anything is spent on them."""
    calls = []

    def model(x):
        calls.append(len(x))
        return np.zeros((len(x), 3, 2))

    with pytest.raises(rx.InvalidInput, match=r"model must return \(N,\) or \(N, K\), got an output of 3 dimensions"):
        explainer(model, B)(X)
    assert len(calls) == 1
    module = nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Unflatten(1, (3, 2)))
    with pytest.raises(rx.InvalidInput, match=r"model must return \(N,\) or \(N, K\), got an output of 3 dimensions"):
        explainer(module, B)(X)


def test_options_that_do_not_exist_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_eval'"):
        PermutationExplainer(scalar, B)(X, max_eval=100)
    with pytest.raises(TypeError, match=r"options are max_evals, main_effects, .*, got 'npermutations'"):
        PermutationExplainer(scalar, B, npermutations=3)
    with pytest.raises(TypeError, match="link must be callable, got 'logit'"):
        PermutationExplainer(scalar, B, link="logit")
    with pytest.raises(NotImplementedError, match="main_effects must be False, got True"):
        PermutationExplainer(scalar, B)(X, main_effects=True)


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_the_model_is_only_read(explainer):
    model = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 2)).train()
    before = fingerprint(model)
    first = explainer(model, B)(X).values
    with pytest.raises(rx.InvalidInput):
        explainer(model, B)(X[:, :5])
    assert_untouched(before, model)
    close(explainer(model.eval(), B)(X).values, first, 1e-12)


def test_from_several_threads():
    model = settled(perceptron)
    explainers = [PermutationExplainer(model, B, seed=1), ExactExplainer(vector, B), KernelExplainer(model, B)]
    expected = [e(X).values for e in explainers]
    found: list = [None] * 12
    before = fingerprint(model)

    def work(i: int) -> None:
        found[i] = explainers[i % 3](X).values

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, values in enumerate(found):
        assert np.array_equal(values, expected[i % 3])
    assert_untouched(before, model)
