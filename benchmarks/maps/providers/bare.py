"""The floor: convolution and GEMM calls of the engine's own walk, one after the other, with nothing between them."""

from __future__ import annotations

from reluxfast.benchmarks.maps.problem import LRP_COMPOSITES, MapProblem
from reluxfast.benchmarks.maps.providers.engine import explainer_of, request
from reluxfast.benchmarks.problem import Prepared, Unavailable


def prepare(problem: MapProblem) -> Prepared:
    """Guided backpropagation and deconvnet do the products of a gradient; a path, one gradient for each point."""
    method, options = request(problem)
    x = problem.x
    if method == "grad_cam":
        raise Unavailable("the bare calls are those of a whole walk, and Grad-CAM's ends at its layer")
    if method == "integrated_gradients":
        x = x.repeat(problem.steps, *[1] * (x.dim() - 1))
    if problem.method not in LRP_COMPOSITES:
        method, options = "gradient", {}
    calls = explainer_of(problem).bare_calls(x, method=method, **options)

    def replay() -> None:
        for call in calls:
            call()

    return Prepared(replay, None)
