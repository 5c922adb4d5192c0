"""Who computes an attribution in a benchmark: the engine on each backend, autograd, Captum, and the bare floor.

To add one: a function `(Problem, method) -> Prepared` and an entry in `PROVIDERS` (those of LRP: `lrp_providers.py`).
Everything that a user does once (capture, layout conversion) happens in that function; only `Prepared.call` is timed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import reluxfast as rx
from benchmarks.cases import Problem

CAPTUM_MISSING = "Captum is not installed; pip install 'reluxfast[bench]'"


class Unavailable(Exception):
    """This provider cannot run here; the message says why."""


@dataclass(frozen=True)
class Prepared:
    """`call()` does the timed work. `computes` names the method its values are checked as; None: no values, a floor."""

    call: Callable[[], Tensor | None]
    computes: str | None


Provider = Callable[[Problem, str], Prepared]


def engine(problem: Problem, backend: str, method: str, **options: Any) -> Callable[[], Tensor]:
    """The engine's call on one backend, captured; Unavailable where that backend is not there."""
    try:
        explainer = rx.Explainer(problem.model, problem.x, backend=backend)
    except rx.BackendUnavailable as error:
        raise Unavailable(str(error)) from error
    return lambda: explainer.attribute(problem.x, problem.target, method, **options).values


def is_engine(name: str) -> bool:
    """Whether this provider is the engine rather than a peer."""
    return name.startswith("reluxfast")


def replayed(calls: list[Callable[[], Tensor]]) -> Prepared:
    """A floor: these calls, one after the other."""

    def replay() -> None:
        for call in calls:
            call()

    return Prepared(replay, None)


def _reluxfast(problem: Problem, method: str, backend: str) -> Prepared:
    return Prepared(engine(problem, backend, method), method)


def _bare(problem: Problem, method: str) -> Prepared:
    """The convolution and GEMM calls of the engine's own walk, forward then reverse, and nothing between them."""
    return replayed(rx.Explainer(problem.model, problem.x).bare_calls(problem.x))


def _input_gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    logits = model(x).gather(1, target[:, None])
    return torch.autograd.grad(logits.sum(), x)[0]


def _autograd(problem: Problem, method: str) -> Prepared:
    return Prepared(lambda: _input_gradient(problem.model, problem.x, problem.target), "gradient")


def _autograd_channels_last(problem: Problem, method: str) -> Prepared:
    model, x = problem.channels_last()
    return Prepared(lambda: _input_gradient(model, x, problem.target), "gradient")


def _captum(problem: Problem, method: str) -> Prepared:
    # Captum switches requires_grad on in the input it is given
    return _captum_on(problem.model, problem.x.clone(), problem, method)


def _captum_channels_last(problem: Problem, method: str) -> Prepared:
    model, x = problem.channels_last()
    return _captum_on(model, x, problem, method)


def _captum_on(model: nn.Module, x: Tensor, problem: Problem, method: str) -> Prepared:
    try:
        from captum.attr import GuidedBackprop, Saliency
    except ImportError as error:
        raise Unavailable(CAPTUM_MISSING) from error
    if method == "gradient":
        return Prepared(lambda: Saliency(model).attribute(x, problem.target, abs=False), method)
    return Prepared(lambda: GuidedBackprop(model).attribute(x, problem.target), method)


@contextmanager
def quiet_peers() -> Iterator[None]:
    """Without the warnings that Captum gives on every call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks")
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        yield


def _compiled(problem: Problem, method: str) -> Prepared:
    """The whole input-gradient through torch.compile, which takes BN and layouts apart by itself; gradient only."""
    model, x = problem.channels_last()
    return Prepared(partial(torch.compile(_input_gradient), model, x, problem.target), "gradient")


PROVIDERS: dict[str, Provider] = {
    "reluxfast cuda": partial(_reluxfast, backend="cuda"),
    "reluxfast triton": partial(_reluxfast, backend="triton"),
    "reluxfast cpp": partial(_reluxfast, backend="cpp"),
    "reluxfast reference": partial(_reluxfast, backend="reference"),
    "autograd": _autograd,
    "autograd channels_last": _autograd_channels_last,
    "compiled channels_last": _compiled,
    "captum": _captum,
    "captum channels_last": _captum_channels_last,
    "bare": _bare,
}

_NOT_ON = {
    "cpu": {"reluxfast cuda", "reluxfast triton", "compiled channels_last"},
    "cuda": {"reluxfast cpp"},
}


def providers_on(device: torch.device, providers: Mapping[str, Provider]) -> dict[str, Provider]:
    """Those of the providers that are compared on a kind of device."""
    return {name: prepare for name, prepare in providers.items() if name not in _NOT_ON[device.type]}
