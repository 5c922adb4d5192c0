"""Integrated gradients along the straight path from a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reluxfast.errors import InvalidInput
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
    bases = _baselines(run.inputs, baseline)
    differences = [x - b for x, b in zip(run.inputs, bases, strict=True)]
    row = sum(x[:1].numel() for x in run.inputs) * run.engine.dtype.itemsize
    at_once = max(1, _POINT_BYTES // max(1, row * run.rows))
    totals: list[torch.Tensor] | None = None
    with progress_bar(total=n_steps, desc="integrated_gradients", unit="step") as bar:
        for first in range(0, len(nodes), at_once):
            t = torch.as_tensor(nodes[first : first + at_once], dtype=run.engine.dtype, device=run.inputs[0].device)
            w = torch.as_tensor(weights[first : first + at_once], dtype=run.engine.dtype, device=t.device)
            points = [_points(b, d, t) for b, d in zip(bases, differences, strict=True)]
            grads = run.input_signals(run.walk("gradient", points))
            parts = [torch.tensordot(w, g.unflatten(0, (len(t), run.rows)), 1) for g in grads]
            totals = parts if totals is None else [a.add_(b) for a, b in zip(totals, parts, strict=True)]
            bar.update(len(t))
    values = [run.over_classes(d) * g for d, g in zip(differences, totals, strict=True)]
    output = run.engine.outputs(run.inputs, run.native)
    base = run.selected(run.engine.outputs(bases, run.native))
    lead = 1 if run.flat is not None else 2
    gap = sum(v.flatten(lead).sum(lead) for v in values) - (run.selected(output) - base)
    facts = {"completeness_gap": gap}
    return Outcome(values, output, facts, base_value=base, n_evaluations=len(nodes) + 2)


def _points(base: torch.Tensor, difference: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(len(t) * N, ...), step-major."""
    scaled = t.view(-1, *[1] * difference.dim()) * difference
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


def _baselines(inputs: Sequence[torch.Tensor], baseline: Any) -> list[torch.Tensor]:
    given = baseline if isinstance(baseline, tuple) else (baseline,) * len(inputs)
    if len(given) != len(inputs):
        raise InvalidInput("baseline", f"must have one entry per input ({len(inputs)})", len(given))
    return [_baseline(x, b) for x, b in zip(inputs, given, strict=True)]


def _baseline(x: torch.Tensor, baseline: Any) -> torch.Tensor:
    if baseline is None:
        return torch.zeros_like(x)
    if isinstance(baseline, (int, float)) and not isinstance(baseline, bool):
        return torch.full_like(x, float(baseline))
    if isinstance(baseline, np.ndarray):
        baseline = torch.from_numpy(np.ascontiguousarray(baseline))
    if isinstance(baseline, torch.Tensor):
        if tuple(baseline.shape) in (tuple(x.shape[1:]), (1, *x.shape[1:]), tuple(x.shape)):
            return baseline.to(device=x.device, dtype=x.dtype).expand_as(x)
        rule = f"must have the shape of a row {tuple(x.shape[1:])} or of x {tuple(x.shape)}"
        raise InvalidInput("baseline", rule, tuple(baseline.shape))
    raise InvalidInput("baseline", "must be None, a number, a Tensor or a numpy array", type(baseline).__name__)
