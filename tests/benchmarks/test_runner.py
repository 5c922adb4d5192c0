"""No number without a green gate: who is wrong, missing or broken is listed and not timed."""

from __future__ import annotations

import pytest
import torch

import reluxfast as rx
from reluxfast.benchmarks import runner
from reluxfast.benchmarks.problem import Prepared, kind_of
from reluxfast.benchmarks.progress import Progress
from reluxfast.benchmarks.timing import Rounds
from tests.benchmarks.problems import PROVIDERS, Doubling, missing, times


def run(problem, rounds=3, **options):
    with Progress(1, "test") as progress:
        outcomes, rates = runner.run(problem, problem.providers(), Rounds.exactly(rounds), progress, **options)
    assert rates.gemm_flop_per_s > 0 and rates.copy_bytes_per_s > 0
    return {outcome.provider: outcome for outcome in outcomes}


def test_everybody_gets_a_fate_in_the_order_given():
    found = run(Doubling())
    assert list(found) == list(PROVIDERS)
    assert {name: o.status for name, o in found.items()} == {
        "reluxfast cpp": "ok",
        "peer": "ok",
        "liar": "wrong",
        "absent": "unavailable",
        "bare": "floor",
    }
    assert [kind_of(name) for name in found] == ["engine", "peer", "peer", "peer", "floor"]
    for name in ("reluxfast cpp", "peer", "bare"):
        assert len(found[name].seconds) == 3 and found[name].trace is not None and found[name].setup_s > 0
    for name in ("liar", "absent"):
        assert found[name].seconds == () and found[name].trace is None
    assert found["liar"].reason == "1.0e+02 away" and found["absent"].reason == "peer is not installed"
    assert found["peer"].verdict.error == 0 and found["bare"].verdict is None


def test_the_small_copy_is_asked_first():
    small = Doubling()
    found = run(Doubling({"liar": times(3), "peer": times(2)}, small))
    assert found["liar"].reason == "1.0e+02 away on the small copy of the network"
    assert found["liar"].setup_s is None  # never prepared on the problem itself
    assert found["peer"].small.error == 0 and len(small.judged) == 2


def test_a_floor_needs_no_small_copy():
    asked = []

    def bare(problem):
        asked.append(problem)
        return Prepared(lambda: None, None)

    problem = Doubling({"bare": bare}, Doubling())
    assert run(problem)["bare"].status == "floor" and asked == [problem]


def test_wrong_peers_are_timed_on_request_and_stay_wrong():
    small = Doubling()
    found = run(Doubling({"liar": times(3), "reluxfast cpp": times(3)}, small), time_wrong=True)
    assert found["liar"].status == "wrong" and len(found["liar"].seconds) == 3 and "small" not in found["liar"].reason
    assert found["reluxfast cpp"].status == "wrong" and found["reluxfast cpp"].seconds == ()


def test_values_that_go_wrong_late_are_noticed():
    def worn(problem):
        calls = []

        def call():
            calls.append(1)
            return 2 * problem.x if len(calls) < 4 else 5 * problem.x

        return Prepared(call, "doubling")

    found = run(Doubling({"reluxfast cpp": worn}))
    assert found["reluxfast cpp"].status == "wrong" and found["reluxfast cpp"].seconds == ()


def test_a_peer_that_breaks_is_listed():
    def breaks(problem):
        raise RuntimeError("hooks cannot be set\nand a long trace")

    found = run(Doubling({"peer": breaks, "silent": lambda problem: Prepared(_raise(KeyError()), "doubling")}))
    assert found["peer"].status == "unavailable" and found["peer"].reason == "RuntimeError: hooks cannot be set"
    assert found["silent"].reason == "KeyError: KeyError"


def _raise(error):
    def call():
        raise error

    return call


def test_a_refusal_of_the_engine_is_listed_and_a_bug_of_it_is_an_error(capsys):
    refuses = _raise(rx.InvalidInput("model", "must be one", "none"))
    found = run(Doubling({"reluxfast cpp": lambda problem: Prepared(refuses, "doubling"), "peer": times(2)}))
    assert found["reluxfast cpp"].status == "unavailable" and "must be one" in found["reluxfast cpp"].reason
    bug = _raise(ZeroDivisionError("by zero"))
    found = run(Doubling({"reluxfast cpp": lambda problem: Prepared(bug, "doubling"), "peer": times(2)}))
    assert found["reluxfast cpp"].status == "wrong" and found["reluxfast cpp"].reason == "ZeroDivisionError: by zero"
    assert "Traceback" in capsys.readouterr().err and len(found["peer"].seconds) == 3


@pytest.mark.parametrize(("name", "status"), [("peer", "unavailable"), ("bare", "unavailable"), ("reluxfast", "wrong")])
def test_who_breaks_while_timed_leaves_the_others_alone(name, status):
    def breaks(problem):
        calls = []

        def call():
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("out of memory")
            return 2 * problem.x

        return Prepared(call, None if name == "bare" else "doubling")

    found = run(Doubling({name: breaks, "other": times(2)}))
    assert found[name].status == status and found[name].reason == "RuntimeError: out of memory"
    assert found[name].seconds == () and len(found["other"].seconds) == 3 and found["other"].status == "ok"


@pytest.mark.parametrize(
    ("error", "status"), [(MemoryError("float64"), "wrong"), (rx.InvalidInput("a", "b", 1), "unavailable")]
)
def test_a_reference_that_cannot_be_computed_is_no_gate(error, status):
    class Unknown(Doubling):
        def judge(self, values, computes):
            raise error

    found = run(Unknown({"reluxfast cpp": times(2), "peer": times(2)}))
    assert found["peer"].status == "unavailable" and found["reluxfast cpp"].status == status
    assert {o.reason for o in found.values()} == {f"no float64 reference: {type(error).__name__}: {error}"}


def test_values_are_a_tensor():
    found = run(
        Doubling({name: lambda problem: Prepared(lambda: (1.0,), "doubling") for name in ("reluxfast cpp", "peer")})
    )
    assert found["reluxfast cpp"].status == "wrong" and found["peer"].status == "unavailable"
    assert found["peer"].reason == "TypeError: values are a tuple, not a tensor"


def test_nothing_to_time():
    assert run(Doubling({"absent": missing}))["absent"].status == "unavailable"


def test_held_memory_is_counted():
    def holds(problem):
        kept = torch.ones(1 << 22)
        return Prepared(lambda: 2 * problem.x + 0 * kept[0], "doubling")

    outcome = run(Doubling({"peer": holds}))["peer"]
    assert outcome.held_bytes is None or 16e6 < outcome.held_bytes < 20e6


def test_copies_of_the_model_are_nobodys_memory():
    def copies(problem):
        kept = torch.ones(1 << 22)
        problem.copied_bytes += kept.nbytes
        return Prepared(lambda: 2 * problem.x + 0 * kept[0], "doubling")

    outcome = run(Doubling({"peer": copies}))["peer"]
    assert outcome.held_bytes is None or abs(outcome.held_bytes) < 4e6
