"""NoiseTunnel: another method on noisy copies of the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reluxfast.compat.captum.bases import Attribution, Explains, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.progress import progress_bar

TYPES = ("smoothgrad", "smoothgrad_sq", "vargrad")


class NoiseTunnel(Explains, Attribution):
    """Mean ("smoothgrad"), mean square ("smoothgrad_sq") or variance ("vargrad") of a method over noisy inputs.

    Noise is drawn from PyTorch's generator in Captum's order, so that the same `torch.manual_seed` gives its values.

    Args:
        attribution_method: an attribution object, of this module or of Captum's.
    """

    def __init__(self, attribution_method: Any) -> None:
        self.attribution_method = attribution_method
        self.is_delta_supported = attribution_method.has_convergence_delta()
        Attribution.__init__(self, attribution_method.forward_func)

    @property
    def multiplies_by_inputs(self) -> bool:
        return self.attribution_method.multiplies_by_inputs

    def has_convergence_delta(self) -> bool:
        return self.is_delta_supported

    @exposed
    def attribute(
        self,
        inputs: Any,
        nt_type: str = "smoothgrad",
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Values like those of the method; with its `return_convergence_delta` also its deltas (N * nt_samples,).

        Args:
            nt_type: "smoothgrad", "smoothgrad_sq" or "vargrad".
            nt_samples: number of noisy copies.
            nt_samples_batch_size: copies that are explained in one call; default all.
            stdevs: standard deviation of the noise, one number or one for each input.
            draw_baseline_from_distrib: whether each copy takes a random row of the baselines.
            **kwargs: of the method.

        Raises:
            AssertionError: an argument breaks a rule.
        """
        call = Call.of(inputs, None, None)
        if nt_type not in TYPES:
            raise Refused("nt_type", f"must be one of {', '.join(TYPES)}", repr(nt_type))
        if not isinstance(nt_samples, int) or nt_samples < 1:
            raise Refused("nt_samples", "must be a positive int", nt_samples)
        sigmas = _sigmas(stdevs, len(call.inputs))
        at_once = min(nt_samples, nt_samples_batch_size or nt_samples)
        totals: list[list[torch.Tensor]] = []
        deltas, many = [], False
        wants_delta = self.is_delta_supported and bool(kwargs.get("return_convergence_delta", False))
        with torch.no_grad(), progress_bar(total=nt_samples, desc=nt_type, unit="sample") as bar:
            for first in range(0, nt_samples, at_once):
                times = min(at_once, nt_samples - first)
                noisy = tuple(_noisy(x, s, times) for x, s in zip(call.inputs, sigmas, strict=True))
                options = _for_copies(kwargs, call, times, draw_baseline_from_distrib)
                found = self.attribution_method.attribute(call.packed(noisy), **options)
                if wants_delta:
                    found, delta = found
                    deltas.append(delta)
                many = isinstance(found, tuple)
                parts = [v.detach().unflatten(0, (len(v) // times, times)) for v in (found if many else (found,))]
                sums = [[p.sum(1), (p * p).sum(1)] for p in parts]
                totals = (
                    sums
                    if not totals
                    else [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(totals, sums, strict=True)]
                )
                bar.update(times)
        values = tuple(_reduced(first / nt_samples, second / nt_samples, nt_type) for first, second in totals)
        values = values if many else values[0]
        return (values, torch.cat(deltas)) if wants_delta else values


def _sigmas(stdevs: Any, inputs: int) -> tuple[float, ...]:
    given = stdevs if isinstance(stdevs, tuple) else (stdevs,) * inputs
    if len(given) != inputs:
        raise Refused("stdevs", f"must be one number, or one for each input ({inputs})", stdevs)
    if not all(isinstance(s, float) for s in given):
        raise Refused("stdevs", "must be floats", stdevs)
    return given


def _noisy(x: torch.Tensor, sigma: float, times: int) -> torch.Tensor:
    """Rows one after the other, each `times` times, with noise."""
    shape = (x.shape[0] * times, *x.shape[1:])
    deviation = torch.full(shape, sigma, device=x.device)
    return x.detach().repeat_interleave(times, dim=0) + torch.normal(0, deviation)


def _reduced(mean: torch.Tensor, square: torch.Tensor, nt_type: str) -> torch.Tensor:
    if nt_type == "smoothgrad":
        return mean
    return square if nt_type == "smoothgrad_sq" else square - mean * mean


def _for_copies(kwargs: dict[str, Any], call: Call, times: int, draw: bool) -> dict[str, Any]:
    """Options of the method for rows that each stand there `times` times."""
    options = dict(kwargs)
    if isinstance(target := options.get("target"), list):
        options["target"] = [t for t in target for _ in range(times)]
    elif isinstance(target, torch.Tensor) and target.numel() > 1:
        options["target"] = target.repeat_interleave(times, 0)
    if options.get("additional_forward_args") is not None:
        extra = Call.of(call.inputs, None, options["additional_forward_args"]).extra
        options["additional_forward_args"] = tuple(
            e.repeat_interleave(times, 0) if isinstance(e, torch.Tensor) and e.dim() else e for e in extra
        )
    if options.get("baselines") is not None:
        given = options["baselines"]
        listed = given if isinstance(given, tuple) else (given,)
        drawn = tuple(_baselines(b, call.rows, times, draw) for b in listed)
        options["baselines"] = drawn if isinstance(given, tuple) else drawn[0]
    if options.get("feature_mask") is not None:
        given = options["feature_mask"]
        listed = given if isinstance(given, tuple) else (given,)
        masks = tuple(m.repeat_interleave(times, 0) if len(m) > 1 else m for m in listed)
        options["feature_mask"] = masks if isinstance(given, tuple) else masks[0]
    return options


def _baselines(baseline: Any, rows: int, times: int, draw: bool) -> Any:
    if not isinstance(baseline, torch.Tensor) or not baseline.dim():
        return baseline
    if draw:
        return baseline[np.random.choice(len(baseline), rows * times)]
    return baseline.repeat_interleave(times, 0) if len(baseline) == rows > 1 else baseline
