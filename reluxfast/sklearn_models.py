"""Fitted networks of scikit-learn as perceptrons, recognised without importing scikit-learn."""

from __future__ import annotations

from typing import Any

import torch

from reluxfast.coalitions.mlp import Perceptron
from reluxfast.errors import InvalidInput

_NETWORKS = ("MLPClassifier", "MLPRegressor")


def is_estimator(f: Any) -> bool:
    """Whether `f` is an estimator of scikit-learn, or of a library that builds on it."""
    return _descends(f, "sklearn.base", ("BaseEstimator",))


def perceptron_of(estimator: Any) -> Perceptron:
    """The network of a fitted MLPClassifier or MLPRegressor with ReLUs, up to its output activation.

    Returns:
        Layers in float64 on the CPU. The outputs are the log-odds of the second of two classes, the logits of more,
        the log-odds of each of several labels, or what a regressor predicts (its logarithm if fitted by Poisson loss).

    Raises:
        InvalidInput: it is another estimator, has another activation, or is not fitted.
    """
    name = type(estimator).__name__
    if not _descends(estimator, "sklearn.neural_network", _NETWORKS):
        rule = f"of scikit-learn must be {' or '.join(_NETWORKS)}, or one of an estimator's methods"
        raise InvalidInput("f", rule, name, _remedy(estimator))
    if estimator.activation != "relu":
        shown = f"{name}(activation={estimator.activation!r})"
        raise InvalidInput(
            "f", "must have the activation 'relu' to be explained by its weights", shown, _remedy(estimator)
        )
    if not hasattr(estimator, "coefs_"):
        raise InvalidInput("f", "must be fitted", f"{name} without coefs_", "Call its fit first")
    weights = (torch.tensor(w, dtype=torch.float64).t().contiguous() for w in estimator.coefs_)
    biases = (torch.tensor(b, dtype=torch.float64) for b in estimator.intercepts_)
    return Perceptron(tuple(weights), tuple(biases))


def _descends(f: Any, module: str, names: tuple[str, ...]) -> bool:
    return any(c.__name__ in names and f"{c.__module__}.".startswith(f"{module}.") for c in type(f).__mro__)


def _remedy(estimator: Any) -> str:
    able = [f"model.{name}" for name in ("predict_proba", "decision_function", "predict") if hasattr(estimator, name)]
    return f"Pass {' or '.join(able)} in its place" if able else "Pass a function of a batch in its place"
