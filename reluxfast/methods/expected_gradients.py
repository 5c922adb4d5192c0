"""Expected gradients: integrated gradients averaged over a background, one point of each path at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from reluxfast.coalitions.counter import POSITIONS, uniforms
from reluxfast.coalitions.designs import background_rows
from reluxfast.errors import InvalidInput
from reluxfast.methods.noise import standard_normal
from reluxfast.methods.numbers import is_number, positive, whole
from reluxfast.methods.run import Outcome, Run
from reluxfast.progress import progress_bar
from reluxfast.relevance.layers import layer_inputs

# Points that are built at once.
_SAMPLE_BYTES = 64 << 20


def expected_gradients(
    run: Run,
    baselines: Any = None,
    n_samples: int = 200,
    seed: int = 0,
    local_smoothing: float = 0.0,
    layer_input: str | nn.Module | None = None,
) -> Outcome:
    """Expected gradients (Erion et al. 2021, arXiv 1906.10670): mean over b and t of (x - b) ⊙ ∇f(b + t(x - b)).

    Args:
        baselines: the background b: None (one row of zeros), a row, or a set of rows (B, ...); a tuple of these for
            several inputs, whose rows belong together. Each row of x meets them in a random order, round and round.
        n_samples: number of points (b, t), t being uniform in (0, 1).
        seed: of draws by a counter keyed by (seed, row, sample): the same whatever the batching.
        local_smoothing: standard deviation of normal noise that is added to x in each sample.
        layer_input: a module or its path: values are those of what it takes, a: the mean of a ⊙ ∂f/∂a over the same
            points, as shap has it for networks of PyTorch. They do not sum to f(x) - base_value.

    Returns:
        values like x, or like the layer's one input; standard_error over samples, an upper bound where background rows
        are met in turn; base_value: the mean of f over the background; options["completeness_gap"] = Σ values -
        (f(x) - base_value), (N,) or (N, K), which sampling leaves, not rounding (not for a layer).
    """
    positive("n_samples", n_samples, needed=True)
    whole("seed", seed)
    if not is_number(local_smoothing) or not 0 <= local_smoothing < math.inf:
        raise InvalidInput("local_smoothing", "must be a finite number that is not negative", repr(local_smoothing))
    background = _background(run.inputs, baselines)
    inside = None if layer_input is None else _taken(run, layer_input)
    row = sum(x[:1].numel() for x in run.inputs) * run.engine.dtype.itemsize
    at_once = max(1, _SAMPLE_BYTES // max(1, row * run.rows * (run.classes or 1)))
    moments: list[_Moments] | None = None
    with progress_bar(total=n_samples, desc="expected_gradients", unit="sample") as bar:
        for first in range(0, n_samples, at_once):
            samples = range(first, min(first + at_once, n_samples))
            parts = _parts(run, inside, *_points(run, background, seed, samples, local_smoothing))
            moments = moments or [_Moments(p[: run.rows]) for p in parts]
            for kept, part in zip(moments, parts, strict=True):
                kept.add(part.unflatten(0, (len(samples), run.rows)))
            bar.update(len(samples))
    found = [m.found(run.engine.dtype) for m in moments]
    values, errors = [value for value, _ in found], [error for _, error in found]
    output, base = run.outputs(), _base(run, background)
    facts = {}
    if inside is None:
        lead = 1 if run.single else 2
        facts["completeness_gap"] = sum(v.flatten(lead).sum(lead) for v in values) - (run.selected(output) - base)
    single, count = inside is not None, n_samples + 1
    return Outcome(values, output, facts, base_value=base, standard_error=errors, n_evaluations=count, single=single)


def _points(
    run: Run, background: list[torch.Tensor], seed: int, samples: range, smoothing: float
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Points b + t(x - b) and differences x - b, (S * N, ...) for each input, sample-major."""
    rows = torch.arange(run.rows, device=run.inputs[0].device)
    units = torch.arange(samples.start, samples.stop, device=rows.device)
    which = background_rows(seed, rows, samples, len(background[0])).t().long()
    t = uniforms(seed, POSITIONS, rows, units, 1)[..., 0].t().to(run.engine.dtype)
    points, differences = [], []
    for i, (x, b) in enumerate(zip(run.inputs, background, strict=True)):
        starts = b[which]
        ends = x.expand_as(starts)
        if smoothing:
            ends = ends + smoothing * torch.stack([standard_normal(x, seed, i, k) for k in samples])
        difference = ends - starts
        points.append(torch.addcmul(starts, t.view(*t.shape, *[1] * (x.dim() - 1)), difference).flatten(0, 1))
        differences.append(difference.flatten(0, 1))
    return points, differences


def _parts(
    run: Run, inside: str | None, points: list[torch.Tensor], differences: list[torch.Tensor]
) -> list[torch.Tensor]:
    """What each sample adds, (S * N, ...) or (S * N, K, ...), for each input or for the value inside."""
    if inside is None:
        grads = run.input_signals(run.walk("gradient", points))
        return [run.over_classes(d) * g for d, g in zip(differences, grads, strict=True)]
    walked = run.walk("gradient", points, frozenset([inside]))
    values = {**dict(zip(run.engine.graph.explained, points, strict=True)), **walked.layers}
    return [run.over_classes(values[inside]) * walked.signals[inside]]


def _taken(run: Run, layer: str | nn.Module) -> str:
    """Name of the one value that a layer takes."""
    names = layer_inputs(run.engine.graph, layer, run.path_of, "layer_input")
    if len(names) > 1:
        raise InvalidInput("layer_input", "must take one value", f"{len(names)}", "Choose one of the layers inside it")
    return names[0]


class _Moments:
    """Mean and squared deviations of samples that come one after the other, in float64 (Welford 1962)."""

    def __init__(self, like: torch.Tensor):
        self._count = 0
        self._mean = torch.zeros_like(like, dtype=torch.float64)
        self._m2 = torch.zeros_like(self._mean)

    def add(self, samples: torch.Tensor) -> None:
        """Adds samples (S, N, ...) in their order."""
        for sample in samples.double():
            self._count += 1
            deviation = sample - self._mean
            self._mean += deviation / self._count
            self._m2 += deviation * (sample - self._mean)

    def found(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean and its standard error, NaN for a single sample."""
        if self._count < 2:
            return self._mean.to(dtype), torch.full_like(self._mean, math.nan, dtype=dtype)
        return self._mean.to(dtype), (self._m2 / (self._count - 1) / self._count).sqrt().to(dtype)


def _base(run: Run, background: list[torch.Tensor]) -> torch.Tensor:
    """(N,) or (N, K): explained outputs of the background, in the mean."""
    count = len(background[0])
    if run.context:
        output = run.outputs([b.repeat_interleave(run.rows, 0) for b in background])
    else:
        output = run.outputs(background).repeat_interleave(run.rows, 0)
    return run.selected(output).unflatten(0, (count, run.rows)).mean(0)


def _background(inputs: Sequence[torch.Tensor], baselines: Any) -> list[torch.Tensor]:
    """(B, ...) for each input."""
    given = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
    if len(given) != len(inputs):
        raise InvalidInput("baselines", f"must have one entry per input ({len(inputs)})", len(given))
    found = [_rows(x, b) for x, b in zip(inputs, given, strict=True)]
    if len({len(b) for b in found}) > 1:
        raise InvalidInput("baselines", "must have as many rows for every input", [len(b) for b in found])
    return found


def _rows(x: torch.Tensor, baselines: Any) -> torch.Tensor:
    shape = tuple(x.shape[1:])
    if baselines is None:
        return x.new_zeros(1, *shape)
    if isinstance(baselines, np.ndarray) and baselines.dtype.kind in "fiub":
        baselines = torch.from_numpy(np.ascontiguousarray(baselines))
    if not isinstance(baselines, torch.Tensor) or baselines.is_complex() or baselines.layout != torch.strided:
        raise InvalidInput("baselines", "must be None, a dense Tensor or an array of numbers", type(baselines).__name__)
    if tuple(baselines.shape) == shape:
        baselines = baselines.unsqueeze(0)
    if tuple(baselines.shape[1:]) != shape or baselines.dim() != x.dim() or not len(baselines):
        rule = f"must be one row {shape} or a set of rows (B, {', '.join(map(str, shape))})"
        raise InvalidInput("baselines", rule, tuple(baselines.shape))
    return baselines.detach().to(device=x.device, dtype=x.dtype)
