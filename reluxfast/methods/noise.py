"""SmoothGrad: gradients averaged over noisy copies of the input, with their standard error."""

from __future__ import annotations

import math

import numpy as np
import torch

from reluxfast.errors import InvalidInput
from reluxfast.methods.run import Outcome, Run
from reluxfast.progress import progress_bar

REDUCTIONS = ("mean", "square", "variance")
_SAMPLE_BYTES = 64 << 20


def smooth_grad(
    run: Run, noise_level: float = 0.1, n_samples: int = 20, seed: int = 0, reduce: str = "mean"
) -> Outcome:
    """SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825): mean of ∇f(x + ε), ε ~ N(0, σ²).

    Args:
        noise_level: σ as a share of max - min of each row, over all axes but the batch.
        n_samples: number of noisy copies.
        seed: noise is drawn by a counter keyed by (seed, input, row, sample): the same whatever the batching.
        reduce: "mean"; "square": mean of g²; "variance": mean of g² minus the squared mean (VarGrad).

    Returns:
        values like x; standard_error of mean and square over samples, None for the variance.
    """
    if reduce not in REDUCTIONS:
        raise InvalidInput("reduce", f"must be one of {', '.join(REDUCTIONS)}", repr(reduce))
    if not isinstance(n_samples, int) or isinstance(n_samples, bool) or n_samples < 1:
        raise InvalidInput("n_samples", "must be a positive int", n_samples)
    if not isinstance(noise_level, (int, float)) or isinstance(noise_level, bool) or not 0 <= noise_level < math.inf:
        raise InvalidInput("noise_level", "must be a finite number that is not negative", repr(noise_level))
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
        raise InvalidInput("seed", "must be an int: the same seed gives the same noise", repr(seed))
    sigmas = [noise_level * _spread(x) for x in run.inputs]
    row = sum(x[:1].numel() for x in run.inputs) * run.engine.dtype.itemsize
    at_once = max(1, _SAMPLE_BYTES // max(1, row * run.rows))
    sums: list[list[torch.Tensor]] | None = None
    with progress_bar(total=n_samples, desc="smooth_grad", unit="sample") as bar:
        for first in range(0, n_samples, at_once):
            samples = range(first, min(first + at_once, n_samples))
            noisy = [
                torch.cat([x + sigma * standard_normal(x, seed, i, k) for k in samples])
                for i, (x, sigma) in enumerate(zip(run.inputs, sigmas, strict=True))
            ]
            grads = run.input_signals(run.walk("gradient", noisy))
            if sums is None:
                sums = [[torch.zeros_like(g[: run.rows], dtype=torch.float64) for _ in range(3)] for g in grads]
            for totals, g in zip(sums, grads, strict=True):
                _accumulate(totals, g.unflatten(0, (len(samples), run.rows)))
            bar.update(len(samples))
    values, errors = [], []
    for totals in sums:
        value, error = _reduced(totals, n_samples, reduce)
        values.append(value.to(run.engine.dtype))
        errors.append(None if error is None else error.to(run.engine.dtype))
    output = run.outputs()
    return Outcome(values, output, standard_error=None if errors[0] is None else errors, n_evaluations=n_samples + 1)


def _spread(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(1)
    if not flat.numel():
        return x.new_zeros(x.shape[0], *[1] * (x.dim() - 1))
    return (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (x.dim() - 1))


def standard_normal(x: torch.Tensor, seed: int, index: int, sample: int) -> torch.Tensor:
    """Standard normal noise (N, ...), row r from the counter (row r, sample) of the key (seed, input)."""
    rows = []
    for r in range(x.shape[0]):
        bits = np.random.Philox(key=[int(seed) % (1 << 64), index], counter=[0, 0, sample, r])
        rows.append(np.random.Generator(bits).standard_normal(x.shape[1:]))
    return torch.from_numpy(np.stack(rows)).to(device=x.device, dtype=x.dtype)


def _accumulate(totals: list[torch.Tensor], samples: torch.Tensor) -> None:
    """Adds g, g² and g⁴ of samples (S, N, ...) to the totals (N, ...), in float64 and in sample order."""
    for g in samples.double():
        square = g * g
        totals[0] += g
        totals[1] += square
        totals[2] += square * square


def _reduced(sums: list[torch.Tensor], n: int, reduce: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    first, second, fourth = (s / n for s in sums)
    if reduce == "variance":
        return (second - first * first).clamp_min(0), None
    mean, square = (first, second) if reduce == "mean" else (second, fourth)
    if n < 2:
        return mean, torch.full_like(mean, math.nan)
    return mean, ((square - mean * mean).clamp_min(0) / (n - 1)).sqrt()
