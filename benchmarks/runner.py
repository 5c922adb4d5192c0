"""Gate, then time: every provider is compared with float64 first, only those that agree are timed, interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from benchmarks.cases import Problem
from benchmarks.gate import Gate, Outcome, Standard
from benchmarks.progress import Progress
from benchmarks.providers import Prepared, Provider, Unavailable, is_engine, quiet_peers
from benchmarks.timing import interleave


def run(
    problem: Problem,
    method: str,
    providers: Mapping[str, Provider],
    rounds: int,
    standard: Standard,
    time_wrong: bool = False,
) -> list[Outcome]:
    """Outcome of every provider on one problem, in the order given.

    Values are compared on a small copy of the network, on the network, and there once more after the rounds: reused
    buffers may go wrong late. With `time_wrong` a wrong peer is timed nevertheless, and stays "wrong".
    """
    outcomes: dict[str, Outcome] = {}
    timed: dict[str, Prepared] = {}
    with quiet_peers(), Progress(len(providers) * (rounds + 2), f"{problem.case.name} {method}") as progress:
        gates = [Gate(problem, standard)]
        if not problem.tiny:
            progress.phase("drawing a small copy")
            gates.insert(0, Gate(problem.small_copy(), standard))
        for name, prepare in providers.items():
            progress.phase(f"checking {name}")
            outcomes[name], prepared = _admit(name, prepare, method, gates, time_wrong and not is_engine(name))
            if prepared is None:
                progress.drop(rounds + 1)
            else:
                timed[name] = prepared
            progress.step()
        progress.phase(f"timing, {rounds} rounds")
        calls = {name: _finished(p.call, problem.x.device) for name, p in timed.items()}
        seconds = interleave(calls, rounds, tick=progress.step)
        for name, prepared in timed.items():
            progress.phase(f"checking {name} again")
            if outcomes[name].status != "wrong":
                outcomes[name] = gates[-1].judge(outcomes[name], prepared)
            if outcomes[name].status != "wrong" or (time_wrong and not is_engine(name)):
                outcomes[name] = replace(outcomes[name], seconds=tuple(seconds[name]))
            progress.step()
    return list(outcomes.values())


def _finished(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The call with the end of its work on the device: what a host clock may be read around."""
    if device.type != "cuda":
        return call

    def run() -> object:
        result = call()
        torch.cuda.synchronize(device)
        return result

    return run


def _admit(
    name: str, prepare: Provider, method: str, gates: list[Gate], even_wrong: bool
) -> tuple[Outcome, Prepared | None]:
    """Take a provider through all gates; the last one is the problem that is timed. None: it is not to be timed."""
    outcome, failed = Outcome(name, "ok"), None
    prepared = None
    for gate in gates:
        start = time.perf_counter()
        try:
            prepared = prepare(gate.problem, method)
        except Unavailable as error:
            return Outcome(name, "unavailable", reason=str(error)), None
        outcome = replace(outcome, setup_s=time.perf_counter() - start)
        outcome = gate.judge(outcome, prepared)
        if outcome.status == "wrong":
            if not even_wrong:
                return outcome, None
            failed = failed or outcome.reason
        if gate.problem.tiny:
            outcome = replace(outcome, small_error=outcome.error)
    if failed:
        outcome = replace(outcome, status="wrong", reason=failed)
    return outcome, prepared
