"""Fitted networks of scikit-learn against the same weights in torch."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

import reluxfast as rx
from tests.coalitions.support import close


def fitted(kind: type, x: np.ndarray, y: np.ndarray, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(**{"hidden_layer_sizes": (12, 7), "max_iter": 15, "random_state": 0, **options}).fit(x, y)


def in_torch(model) -> nn.Sequential:
    """The same network, without its output activation."""
    layers: list[nn.Module] = []
    for weight, bias in zip(model.coefs_, model.intercepts_, strict=True):
        linear = nn.Linear(*weight.shape).double()
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight.T))
            linear.bias.copy_(torch.tensor(bias))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def scaled(data) -> tuple[np.ndarray, np.ndarray]:
    return StandardScaler().fit_transform(data.data), data.target


def two_classes():
    x, y = scaled(load_breast_cancer())
    return fitted(MLPClassifier, x[:, :9], y), x[:, :9]


def ten_classes():
    x, y = scaled(load_digits())
    return fitted(MLPClassifier, x, y), x


def labels():
    x, y = scaled(load_digits())
    return fitted(MLPClassifier, x[:, 2:12], np.stack([y > 4, y % 2 == 0], 1).astype(int)), x[:, 2:12]


def regression():
    x, y = scaled(load_diabetes())
    return fitted(MLPRegressor, x, y / 100), x


def two_targets():
    x, y = scaled(load_diabetes())
    return fitted(MLPRegressor, x, np.stack([y, -y], 1) / 100, hidden_layer_sizes=(8, 8, 8)), x


def linear():
    x, y = scaled(load_diabetes())
    return fitted(MLPRegressor, x, y / 100, hidden_layer_sizes=()), x


def counts():
    x, y = scaled(load_diabetes())
    return fitted(MLPRegressor, x, y / 100, loss="poisson"), x


NETWORKS = [two_classes, ten_classes, labels, regression, two_targets, linear, counts]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda make: make.__name__)
def network(request):
    return request.param()


def explained_output(model, x: np.ndarray) -> np.ndarray:
    """What the model predicts, its output activation undone: (N, K); classes up to a constant for each row."""
    if isinstance(model, MLPRegressor):
        predicted = model.predict(x).reshape(len(x), -1)
        return np.log(predicted) if model.out_activation_ == "exp" else predicted
    p = model.predict_proba(x)
    if model.out_activation_ == "softmax":
        return np.log(p) - np.log(p).mean(1, keepdims=True)
    p = p[:, 1:] if len(model.classes_) == 2 and p.shape[1] == 2 and model.n_outputs_ == 1 else p
    return np.log(p) - np.log1p(-p)


@pytest.mark.parametrize("estimator", ["permutation", "leverage", "exact"])
def test_shapley_values_are_those_of_the_torch_network(network, estimator):
    model, x = network
    players = np.arange(x.shape[1]) % 10
    options = {"players": players, "estimator": estimator, "seed": 3}
    found = rx.shapley(model, x[:5], x[40:43], **options)
    theirs = rx.shapley(in_torch(model), torch.tensor(x[:5]), torch.tensor(x[40:43]), **options)
    assert found.options["path"] == "mlp" and found.values.dtype == torch.float64
    for ours, expected in (
        (found.values, theirs.values),
        (found.output, theirs.output),
        (found.base_value, theirs.base_value),
    ):
        close(ours, expected.numpy(), 1e-12)
    if estimator == "permutation":
        close(found.standard_error, theirs.standard_error.numpy(), 1e-9)
    output = explained_output(model, x[:5])
    centred = (
        found.output.numpy() if output.shape[1] < 10 else found.output.numpy() - found.output.numpy().mean(1)[:, None]
    )
    assert np.abs(output - centred).max() < 1e-6 * np.abs(output).max()


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "feature_ablation", "occlusion"])
def test_the_other_methods(network, method):
    model, x = network
    options = (
        {"window": 3} if method == "occlusion" else {"n_evaluations": 2000} if method != "feature_ablation" else {}
    )
    found = getattr(rx, method)(model, x[:3], x[40], **options)
    theirs = getattr(rx, method)(in_torch(model), torch.tensor(x[:3]), torch.tensor(x[40]), **options)
    assert found.method == method and float(theirs.values.abs().max()) > 0.01
    close(found.values, theirs.values.numpy(), 1e-9)


def test_arrays_tensors_and_their_dtypes():
    model, x = two_classes()
    wide = rx.shapley(model, x[:4], estimator="permutation")
    for given, relative in (
        (torch.tensor(x[:4]), 0.0),
        (x[:4].astype(np.float32), 1e-5),
        (torch.tensor(x[:4]).float(), 1e-5),
        (torch.tensor(x[:4]).half(), 2e-2),
    ):
        found = rx.shapley(model, given, estimator="permutation")
        assert found.values.dtype == torch.as_tensor(given).dtype and found.options["path"] == "mlp"
        close(found.values, wide.values.numpy(), relative)
    single = rx.shapley(model, x[:4], target=0, estimator="permutation")
    assert torch.equal(single.values, wide.values) and wide.values.shape == (4, 9)


def test_deep_networks_are_explained_too():
    """Chains walk six layers at most."""
    x, y = scaled(load_diabetes())
    model = fitted(MLPRegressor, x, y / 100, hidden_layer_sizes=(6,) * 7)
    found = rx.shapley(model, x[:4], x[9], estimator="permutation")
    theirs = rx.shapley(in_torch(model), torch.tensor(x[:4]), torch.tensor(x[9]), estimator="permutation")
    close(found.values, theirs.values.numpy(), 1e-12)
    assert found.options["path"] == "mlp"


def test_a_network_that_is_fitted_further_is_explained_as_it_is():
    model, x = two_classes()
    before = rx.shapley(model, x[:3]).values
    model.partial_fit(x, load_breast_cancer().target)
    after = rx.shapley(model, x[:3])
    assert float((after.values - before).abs().max()) > 1e-3
    close(after.output, explained_output(model, x[:3]), 1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (MLPClassifier, "f must be fitted, got MLPClassifier without coefs_. Call its fit first"),
        (
            lambda: MLPClassifier(activation="tanh"),
            r"f must have the activation 'relu' to be explained by its weights, got MLPClassifier\(activation='tanh'\)"
            r"\. Pass model\.predict_proba or model\.predict in its place",
        ),
        (
            RandomForestRegressor,
            "f of scikit-learn must be MLPClassifier or MLPRegressor, or one of an estimator's methods, "
            r"got RandomForestRegressor\. Pass model\.predict in its place",
        ),
        (LinearSVC, "got LinearSVC. Pass model.decision_function or model.predict in its place"),
        (StandardScaler, "got StandardScaler. Pass a function of a batch in its place"),
        (
            lambda: make_pipeline(StandardScaler(), MLPClassifier()),
            "got Pipeline. Pass model.predict_proba or model.predict",
        ),
    ],
)
def test_estimators_that_are_refused(make, message):
    for method in (rx.shapley, rx.lime):
        with pytest.raises(rx.InvalidInput, match=message):
            method(make(), np.zeros((2, 9)))


def test_rows_that_do_not_fit():
    model, x = two_classes()
    with pytest.raises(rx.InvalidInput, match=r"x must have shape \(N, 9\), as the network was fitted, got \(2, 8\)"):
        rx.shapley(model, x[:2, :8])
    with pytest.raises(rx.InvalidInput, match=r"target must lie in \[-1, 0\]"):
        rx.shapley(model, x[:2], target=1)


def test_methods_of_an_estimator_are_functions():
    model, x = two_classes()
    found = rx.shapley(model.predict_proba, x[:3], estimator="exact")
    assert found.values.shape == (3, 2, 9) and found.options["path"] == "function"
    close(found.values.sum(-1), (found.output - found.base_value).numpy(), 1e-9)


def test_subclasses_are_networks_and_sklearn_is_not_imported():
    class Mine(MLPRegressor):
        pass

    x, y = scaled(load_diabetes())
    model = fitted(Mine, x, y)
    close(rx.shapley(model, x[:2]).output, model.predict(x[:2])[:, None], 1e-9)
    code = (
        "import sys, torch, reluxfast as rx\n"
        "class Odd: pass\n"
        "try: rx.shapley(Odd(), torch.zeros(1, 2))\n"
        "except rx.InvalidInput as error: print('sklearn' in sys.modules, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False f must be a module, an Explainer, a fitted scikit-learn MLP or a function")
