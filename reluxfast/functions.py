"""Each method as a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reluxfast.attribution import Attribution
from reluxfast.errors import InvalidInput
from reluxfast.explainer import attribute
from reluxfast.games import explain_function
from reluxfast.methods import COALITION_METHODS, METHODS


def methods(kind: str | None = None) -> list[str]:
    """Names of the attribution methods.

    Args:
        kind: "relevance": those that walk the network backwards; "coalitions": those that ask for outputs alone, so
            that they take any function; None: all.

    Raises:
        InvalidInput: there is no such kind.
    """
    kinds = {"relevance": METHODS, "coalitions": COALITION_METHODS}
    if kind is None:
        return [*METHODS, *COALITION_METHODS]
    if kind not in kinds:
        raise InvalidInput("kind", f"must be None or one of {', '.join(kinds)}", repr(kind))
    return list(kinds[kind])


def _function(name: str) -> Callable[..., Attribution]:
    def explain(model: Any, x: Any, target: Any = None, **options: Any) -> Attribution:
        return attribute(model, x, target, method=name, **options)

    explain.__name__ = explain.__qualname__ = name
    about = METHODS[name].__doc__ or ""
    explain.__doc__ = f"{about.rstrip()}\n\n    `model`, `x` and `target` are those of `reluxfast.attribute`.\n    "
    return explain


gradient = _function("gradient")
input_x_gradient = _function("input_x_gradient")
guided_backprop = _function("guided_backprop")
deconvnet = _function("deconvnet")
lrp = _function("lrp")
grad_cam = _function("grad_cam")
guided_grad_cam = _function("guided_grad_cam")
integrated_gradients = _function("integrated_gradients")
deep_lift = _function("deep_lift")
smooth_grad = _function("smooth_grad")
expected_gradients = _function("expected_gradients")


_COMMON = """
    `f` is a module, an exported program, an Explainer, or any function of a batch (M, ...) that returns (M,) or
    (M, K); a function is given what `x` is, Tensors or numpy arrays. `f` may also be a fitted MLPClassifier or
    MLPRegressor of scikit-learn with ReLUs, explained before its output activation (log-odds, logits). `x` (N, ...)
    holds the rows to explain.

    `target` is that of `reluxfast.attribute`; None: every output, values (N, K, ...), or (N, ...) of a single one.
    `baselines` is a row, or a background set (B, ...); default zeros. `players` are integers that broadcast to a row
    and name the player of each element (values are then (N, n), players in ascending order of their names); default:
    every element. `batch_size` is the number of rows of each call of f; it follows from the size of a row, from
    `memory_budget` (bytes) and from how many evaluations a row takes, never from the number of rows.

    Raises:
        InvalidInput: an argument breaks a rule.
        ReluxfastError: f returns NaN or infinity; the message names the coalition, where f is called with it.
    """


def _of_outputs(name: str) -> Callable[..., Attribution]:
    def explain(f: Any, x: Any, baselines: Any = None, target: Any = None, **options: Any) -> Attribution:
        return explain_function(f, x, target, name, {"baselines": baselines, **options})

    explain.__name__ = explain.__qualname__ = name
    explain.__doc__ = f"{(COALITION_METHODS[name].__doc__ or '').rstrip()}\n{_COMMON}"
    return explain


shapley = _of_outputs("shapley")
kernel_shap = _of_outputs("kernel_shap")
lime = _of_outputs("lime")
feature_ablation = _of_outputs("feature_ablation")
occlusion = _of_outputs("occlusion")
rise = _of_outputs("rise")
