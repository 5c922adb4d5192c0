"""Several ways to the same values: the fastest on this problem is the provider's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from typing import TypeVar

import torch

from reluxfast.benchmarks.problem import Prepared, Problem, Provider

Option = TypeVar("Option")

_CALLS = 5


def fastest(
    call: Callable[[Option], object], options: Iterable[Option], device: torch.device, enough_s: float = 0.5
) -> Option:
    """The option whose best call is the shortest; all are called in turn, so that drift of the machine favours none.

    Each is called once, then on until its calls took `enough_s`, at most five times.
    What raises is not chosen: the network may take no batch of that size. Where all do, the first one's error stands.
    """
    options = tuple(options)
    if len(options) == 1:
        return options[0]
    seconds: dict[Option, list[float]] = {option: [] for option in options}
    failed: Exception | None = None
    for _ in range(_CALLS):
        for option in [one for one, spent in seconds.items() if sum(spent) < enough_s]:
            try:
                seconds[option].append(_seconds(call, option, device))
            except Exception as error:
                failed = failed or error
                del seconds[option]
    if not seconds:
        raise failed
    return min(seconds, key=lambda option: min(seconds[option]))


def _seconds(call: Callable[[Option], object], option: Option, device: torch.device) -> float:
    start = time.perf_counter()
    call(option)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def searching(provider: Provider) -> Provider:
    """The provider with cuDNN's search for the fastest convolutions in force while it is prepared and called.

    On other devices it is the provider as it stands.
    """

    @wraps(provider)
    def prepare(problem: Problem) -> Prepared:
        if problem.device.type != "cuda":
            return provider(problem)
        found = _searched(provider)(problem)
        note = f"{found.note}; cudnn.benchmark" if found.note else "cudnn.benchmark"
        return replace(found, call=_searched(found.call), note=note)

    return prepare


def _searched(call: Callable) -> Callable:
    @wraps(call)
    def searched(*args):
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            return call(*args)
        finally:
            torch.backends.cudnn.benchmark = before

    return searched
