"""Integrated gradients along the straight path from a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from reluxfast.errors import InvalidInput
from reluxfast.methods.baselines import baselines
from reluxfast.methods.run import Outcome, Run
from reluxfast.progress import progress_bar

QUADRATURES = ("midpoint", "trapezoid", "gauss_legendre", "right_riemann")
# Path points that are built at once.
_POINT_BYTES = 64 << 20


def integrated_gradients(run: Run, baseline: Any = None, n_steps: int = 50, quadrature: str = "midpoint") -> Outcome:
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): (x - x') ⊙ ∫₀¹ ∇f(x' + t(x - x')) dt.

    Args:
        baseline: x': None (zeros), a number, a Tensor like one row or like x; a tuple of these for several inputs.
        n_steps: number of points of the quadrature.
        quadrature: "midpoint", "trapezoid", "gauss_legendre" or "right_riemann". On ReLU networks all of them
            converge like 1 / n_steps.

    Returns:
        values like x; base_value f(x'); options["completeness_gap"] = Σ values - (f(x) - f(x')), (N,) or (N, K).
    """
    nodes, weights = _rule(quadrature, n_steps)
    bases = baselines(run.inputs, baseline)
    differences = [x - b for x, b in zip(run.inputs, bases, strict=True)]

    def gradients(points: list[torch.Tensor]) -> list[torch.Tensor]:
        return run.input_signals(run.walk("gradient", points))

    means = path_gradients(gradients, bases, differences, nodes, weights)
    values = [run.over_classes(d) * g for d, g in zip(differences, means, strict=True)]
    output = run.outputs()
    base = run.selected(_base_output(run, bases))
    lead = 1 if run.single else 2
    gap = sum(v.flatten(lead).sum(lead) for v in values) - (run.selected(output) - base)
    facts = {"completeness_gap": gap}
    return Outcome(values, output, facts, base_value=base, n_evaluations=len(nodes) + 2)


def _base_output(run: Run, bases: Sequence[torch.Tensor]) -> torch.Tensor:
    """Output (N, ...) at the baseline; one row that stands for all is run once."""
    if run.context or any(b.stride(0) for b in bases):
        return run.outputs(bases)
    output = run.outputs([b[:1] for b in bases])
    return output.expand(run.rows, *output.shape[1:])


def path_gradients(
    gradients: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]],
    bases: Sequence[torch.Tensor],
    differences: Sequence[torch.Tensor],
    nodes: np.ndarray,
    weights: np.ndarray,
    points_at_once: int | None = None,
) -> list[torch.Tensor]:
    """Σ_k w_k ∇f(x' + t_k (x - x')) for each input.

    Args:
        gradients: points (S * N, ...) of each input, step-major -> gradients like them, or (S * N, K, ...).
        bases, differences: x' and x - x' (N, ...) of each input.
        nodes, weights: t_k and w_k.
        points_at_once: steps that are taken together; default as many as fit a fixed size.
    """
    rows = differences[0].shape[0]
    row_bytes = sum(d[:1].numel() * d.element_size() for d in differences)
    at_once = points_at_once or max(1, _POINT_BYTES // max(1, row_bytes * rows))
    totals: list[torch.Tensor] | None = None
    with progress_bar(total=len(nodes), desc="integrated_gradients", unit="step") as bar:
        for first in range(0, len(nodes), at_once):
            some = slice(first, first + at_once)
            t, w = (
                torch.as_tensor(v[some], dtype=differences[0].dtype, device=differences[0].device)
                for v in (nodes, weights)
            )
            grads = gradients([_points(b, d, t) for b, d in zip(bases, differences, strict=True)])
            parts = [torch.tensordot(w.to(g.dtype), g.unflatten(0, (len(t), rows)), 1) for g in grads]
            totals = parts if totals is None else [a.add_(b) for a, b in zip(totals, parts, strict=True)]
            bar.update(len(t))
    return totals


def _points(base: torch.Tensor, difference: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(len(t) * N, ...), step-major."""
    scaled = t.to(difference.dtype).view(-1, *[1] * difference.dim()) * difference
    return (base + scaled).flatten(0, 1)


def _rule(quadrature: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InvalidInput("n_steps", "must be a positive int", n)
    k = np.arange(n)
    if quadrature == "midpoint":
        return (k + 0.5) / n, np.full(n, 1 / n)
    if quadrature == "right_riemann":
        return (k + 1.0) / n, np.full(n, 1 / n)
    if quadrature == "trapezoid":
        if n < 2:
            raise InvalidInput("n_steps", "must be at least 2 for the trapezoid rule", n)
        weights = np.full(n, 1 / (n - 1))
        weights[[0, -1]] /= 2
        return k / (n - 1), weights
    if quadrature == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return (nodes + 1) / 2, weights / 2
    raise InvalidInput("quadrature", f"must be one of {', '.join(QUADRATURES)}", repr(quadrature))
