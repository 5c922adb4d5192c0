"""The engine: captured once, called with the method of the problem."""

from __future__ import annotations

from typing import Any

import reluxfast as rx
from reluxfast.benchmarks.maps.problem import LRP_COMPOSITES, MapProblem
from reluxfast.benchmarks.problem import Prepared, Unavailable
from reluxfast.composites import composite


def prepare(problem: MapProblem, backend: str) -> Prepared:
    """Unavailable where that backend is not there."""
    explainer = explainer_of(problem, backend)
    method, options = request(problem)
    # What is behind two of its forward passes.
    note = "with the outputs at both ends of the path" if method == "integrated_gradients" else ""
    return Prepared(
        lambda: explainer.attribute(problem.x, problem.target, method, **options).values, problem.method, note
    )


def explainer_of(problem: MapProblem, backend: str = "auto") -> rx.Explainer:
    """The problem's model, captured. It computes float64 in float64, and half types in float32."""
    try:
        return rx.Explainer(problem.model, problem.x, backend=backend)
    except rx.BackendUnavailable as error:
        raise Unavailable(str(error)) from error


def request(problem: MapProblem) -> tuple[str, dict[str, Any]]:
    """Method and options of the engine that compute what the problem asks for."""
    if problem.method in LRP_COMPOSITES:
        return "lrp", {"composite": composite(problem.method, **composite_arguments(problem))}
    if problem.method == "grad_cam":
        return "grad_cam", {"layer": problem.layer, "upsample": False}
    if problem.method == "integrated_gradients":
        return "integrated_gradients", {"n_steps": problem.steps, "quadrature": "gauss_legendre"}
    return problem.method, {}


def composite_arguments(problem: MapProblem) -> dict[str, Any]:
    """What the composite of the problem takes besides its defaults."""
    return problem.bounds() if problem.method == "epsilon_gamma_box" else {}
