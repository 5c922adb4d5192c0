"""Gate, then time: every provider is compared with float64 first, only those that agree are timed, interleaved."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import reluxfast as rx
from reluxfast.benchmarks import rates, trace
from reluxfast.benchmarks.problem import Prepared, Problem, Provider, Unavailable, Verdict, Wrong, kind_of
from reluxfast.benchmarks.progress import Progress
from reluxfast.benchmarks.quiet import quiet_peers
from reluxfast.benchmarks.rates import Rates
from reluxfast.benchmarks.timing import Rounds, interleave, settled_heap

# Longer calls are not repeated for their trace; one of millions of operations would take gigabytes for it.
_TRACED_S = 8.0


@dataclass(frozen=True)
class Outcome:
    """One provider's fate.

    Attributes:
        provider: its name.
        status: "ok", "floor" (no values), "wrong" or "unavailable".
        reason: why it is wrong or unavailable.
        computes, note: see `Prepared`.
        verdict: on the problem; the last one taken.
        small: verdict on the small copy.
        setup_s, first_call_s: seconds of preparation (capture, compilation, tuning) and of the first call after it.
        held_bytes: what stays allocated after both.
        trace: memory and operations of one call.
        seconds: one time per round.
    """

    provider: str
    status: str
    reason: str | None = None
    computes: str | None = None
    note: str = ""
    verdict: Verdict | None = None
    small: Verdict | None = None
    setup_s: float | None = None
    first_call_s: float | None = None
    held_bytes: int | None = None
    trace: trace.Trace | None = None
    seconds: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """ "engine", "floor" or "peer"."""
        return kind_of(self.provider)


def run(
    problem: Problem,
    providers: Mapping[str, Provider],
    rounds: Rounds,
    progress: Progress,
    time_wrong: bool = False,
) -> tuple[list[Outcome], Rates]:
    """Outcome of every provider on one problem, in the order given, and the machine's rates.

    Values are compared on a small copy where there is one, on the problem, and there once more after the rounds: reused
    buffers may go wrong late. With `time_wrong` a wrong peer is timed nevertheless, and stays "wrong".
    """
    outcomes: dict[str, Outcome] = {}
    timed: dict[str, Prepared] = {}
    with quiet_peers(), settled_heap():
        small = problem.small_copy()
        for name, provider in providers.items():
            progress.phase(f"checking {name}")
            outcome, prepared = _admit(name, provider, small, problem, time_wrong)
            outcomes[name] = outcome
            if prepared is not None:
                timed[name] = prepared
            progress.step()
        progress.phase(f"timing {len(timed)} providers")
        measured = rates.measure(problem.device, problem.dtype, tiny=problem.tiny)
        calls = {name: _Call(prepared, problem.device) for name, prepared in timed.items()}
        seconds = interleave(calls, rounds)
        for name, call in calls.items():
            progress.phase(f"checking {name} again")
            outcomes[name] = _again(outcomes[name], call, problem, seconds[name], time_wrong)
            progress.step()
    return list(outcomes.values()), measured


def _admit(
    name: str, provider: Provider, small: Problem | None, problem: Problem, time_wrong: bool
) -> tuple[Outcome, Prepared | None]:
    """Take a provider through the gates. None: it is not to be timed."""
    outcome = Outcome(name, "ok")
    even_wrong = time_wrong and outcome.kind == "peer"
    try:
        if small is not None and outcome.kind != "floor":
            outcome = _judged(replace(outcome, setup_s=None), provider(small), small)
            outcome = replace(outcome, small=outcome.verdict, verdict=None)
            if outcome.status == "wrong" and not even_wrong:
                return replace(outcome, reason=f"{outcome.reason} on the small copy of the network"), None
        before, copied = trace.allocated_bytes(problem.device), problem.copied_bytes
        start = time.perf_counter()
        prepared = provider(problem)
        outcome = replace(outcome, setup_s=time.perf_counter() - start)
        failed = outcome if outcome.status == "wrong" else None
        if before is not None:
            before += problem.copied_bytes - copied
        outcome = _judged(outcome, prepared, problem, before)
    except Exception as error:
        return _broken(Outcome(name, "ok"), error), None
    if failed is not None:
        outcome = replace(outcome, status="wrong", reason=failed.reason)
    return outcome, None if outcome.status == "wrong" and not even_wrong else prepared


def _broken(outcome: Outcome, error: Exception) -> Outcome:
    """Who raised: not available here, but for an engine that breaks, or cannot be checked, where it does not refuse."""
    if isinstance(error, Wrong):
        return replace(outcome, status="wrong", reason=_first_line(error), seconds=())
    cause = error.__cause__ if isinstance(error, _NoReference) else error
    refuses = isinstance(cause, (Unavailable, rx.ReluxfastError))
    told = refuses or isinstance(error, _NoReference)
    reason = _first_line(error) if told else f"{type(error).__name__}: {_first_line(error)}"
    if outcome.kind == "engine" and not refuses:
        traceback.print_exception(error)  # a bug, which its first line does not explain
        return replace(outcome, status="wrong", reason=reason, seconds=())
    return replace(outcome, status="unavailable", reason=reason, seconds=())


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _judged(outcome: Outcome, prepared: Prepared, problem: Problem, allocated: int | None = None) -> Outcome:
    """After the first call; a floor has no values, it only gets its warm-up call. `allocated` before preparation."""
    call = _Call(prepared, problem.device)
    start = time.perf_counter()
    values = call.result()
    outcome = replace(outcome, first_call_s=time.perf_counter() - start, note=prepared.note)
    held = trace.difference(trace.allocated_bytes(problem.device), allocated)
    if held is not None and isinstance(values, Tensor):
        held -= values.nbytes  # the result is the caller's
    return _with_verdict(replace(outcome, held_bytes=held), values, prepared.computes, problem)


def _with_verdict(outcome: Outcome, values: Tensor | None, computes: str | None, problem: Problem) -> Outcome:
    if computes is None:
        return replace(outcome, status="floor")
    if not isinstance(values, Tensor):
        raise TypeError(f"values are a {type(values).__name__}, not a tensor")
    try:
        verdict = problem.judge(values, computes)
    except Exception as error:
        raise _NoReference(f"no float64 reference: {type(error).__name__}: {_first_line(error)}") from error
    status = "ok" if verdict.reason is None else "wrong"
    return replace(outcome, status=status, computes=computes, verdict=verdict, reason=verdict.reason)


class _NoReference(Exception):
    """What values would be held against cannot be computed."""


def _again(outcome: Outcome, call: _Call, problem: Problem, seconds: list[float], time_wrong: bool) -> Outcome:
    """After the rounds: values once more, with memory and operations noted; a wrong engine loses its times."""
    try:
        if call.error is not None:
            raise call.error
        values, traced = call.values, None
        if max(seconds, default=0.0) < _TRACED_S:
            values, traced = trace.traced(call.result, problem.device)
        if outcome.status != "wrong":
            outcome = _with_verdict(outcome, values, call.prepared.computes, problem)
    except Exception as error:
        return _broken(outcome, error)
    if outcome.status == "wrong" and not (time_wrong and outcome.kind == "peer"):
        return outcome
    return replace(outcome, seconds=tuple(seconds), trace=traced)


class _Call:
    """A prepared call with the end of its work on the device: what a host clock may be read around.

    Timed, it keeps the last values and does not raise: the others go on, and `error` is what it raised first.
    """

    def __init__(self, prepared: Prepared, device: torch.device):
        self.prepared, self.device = prepared, device
        self.error: Exception | None = None
        self.values: Tensor | None = None

    def result(self) -> Tensor | None:
        """The values."""
        values = self.prepared.call()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return values

    def __call__(self) -> None:
        if self.error is not None:
            return
        try:
            self.values = self.result()
        except Exception as error:
            self.error = error.with_traceback(None)  # whose frames would keep what was allocated
