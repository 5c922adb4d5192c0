"""Samples of which features are present, drawn for one example after the other as Captum draws them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.perturbation.baselines import given_starts
from reluxfast.compat.captum.perturbation.features import Features


@dataclass(frozen=True)
class Samples:
    """Samples of one example, or of the batch as a whole.

    Attributes:
        present: (S, total) as drawn, on the host.
        weights: (S,) float64.
    """

    present: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn, and weighted.

    Attributes:
        perturb: of inputs, a sample (1, total), or a generator of samples.
        similarity: weight of inputs, perturbed inputs and a sample.
        count: samples of each example.
        further: what is handed on to both, besides baselines, feature_mask and num_interp_features.
    """

    perturb: Callable[..., Any]
    similarity: Callable[..., Any]
    count: int
    further: dict[str, Any]

    def of_examples(self, call: Call, baselines: tuple[Any, ...], features: Features) -> list[Samples]:
        """Samples of each example by itself."""
        found = []
        for row in range(call.rows):
            if row:
                _spend_as_a_fit(features.total)
            one = call.at([x[row : row + 1] for x in call.inputs])
            own = tuple(_row(b, row, x) for b, x in zip(baselines, call.inputs, strict=True))
            ids = features.ids if features.shared else tuple(ids[row : row + 1] for ids in features.ids)
            found.append(self.of_batch(one, own, Features(ids, features.total)))
        return found

    def of_batch(self, call: Call, baselines: tuple[Any, ...], features: Features) -> Samples:
        """Samples of all examples of a call together."""
        inputs = tuple(x.detach() for x in call.inputs)
        starts, dtypes = given_starts(baselines, inputs)
        given = call.packed(inputs)
        masks = tuple(ids.view(-1, *x.shape[1:]) for ids, x in zip(features.ids, inputs, strict=True))
        named = {
            "baselines": call.packed(baselines),
            "feature_mask": call.packed([m.to(x.device) for m, x in zip(masks, inputs, strict=True)]),
            "num_interp_features": features.total,
            **self.further,
        }
        generator = self.perturb(given, **named) if inspect.isgeneratorfunction(self.perturb) else None
        present, weights = [], []
        for _ in range(self.count):
            sample = self.perturb(given, **named) if generator is None else next(generator, None)
            if sample is None:
                warnings.warn(f"perturb_func gave {len(present)} of {self.count} samples", UserWarning, stacklevel=4)
                break
            if not isinstance(sample, torch.Tensor) or sample.shape != (1, features.total):
                shown = tuple(sample.shape) if isinstance(sample, torch.Tensor) else type(sample).__name__
                raise Refused("perturb_func", f"must return Tensors (1, {features.total})", shown)
            there = sample[0].cpu().bool()
            parts = zip(inputs, starts, dtypes, masks, strict=True)
            perturbed = [torch.where(there[m].to(x.device), x.to(t), s.to(t)) for x, s, t, m in parts]
            weights.append(float(self.similarity(given, call.packed(perturbed), sample, **named)))
            present.append(sample.detach().cpu())
        if not present:
            raise Refused("perturb_func", "must give samples", "none")
        return Samples(torch.cat(present), torch.tensor(weights, dtype=torch.float64, device="cpu"))


def _spend_as_a_fit(total: int) -> None:
    """Takes the random numbers that Captum's fit to one example takes before the next one's samples are drawn."""
    torch.empty((), dtype=torch.int64).random_()  # a DataLoader's seed
    nn.Linear(total, 1)


def _row(baseline: Any, row: int, x: torch.Tensor) -> Any:
    """The baseline of one example."""
    own = isinstance(baseline, torch.Tensor) and baseline.dim() == x.dim() and len(baseline) == len(x)
    return baseline[row : row + 1] if own else baseline


def half_of_features(original_input: Any, **kwargs: Any) -> torch.Tensor:
    """A sample (1, total) in which each feature is present with probability one half."""
    first = original_input[0] if isinstance(original_input, tuple) else original_input
    probabilities = torch.ones(1, kwargs["num_interp_features"]) * 0.5
    return torch.bernoulli(probabilities).to(first.device).long()
