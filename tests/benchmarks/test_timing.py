"""Statistics and order of interleaved timing, with a clock that the test winds."""

from __future__ import annotations

import gc

import pytest

from benchmarks.timing import Stats, interleave, paired_ratio, summarise


def test_summarise_interpolates_between_order_statistics():
    assert summarise([5, 1, 2, 4, 3]) == Stats(median=3.0, low=pytest.approx(1.8), high=pytest.approx(4.2), count=5)
    assert summarise([7.0]) == Stats(7.0, 7.0, 7.0, 1)
    with pytest.raises(ValueError, match="sample: at least one measurement"):
        summarise([])


def test_paired_ratio_cancels_drift_of_the_machine():
    base = [1.0, 10.0, 3.0]  # the same work on a machine that slows down tenfold in the middle
    assert paired_ratio([2 * t for t in base], base) == Stats(2.0, 2.0, 2.0, 3)
    with pytest.raises(ValueError):
        paired_ratio([1.0, 2.0], [1.0])


def test_interleave_runs_a_b_a_b_and_times_each_alone():
    now, order = 0.0, []

    def work(name, cost):
        def call():
            nonlocal now
            order.append(name)
            now += cost

        return call

    def tick():
        nonlocal now
        now += 100.0  # must not be charged to anybody

    seconds = interleave({"a": work("a", 1.0), "b": work("b", 2.0)}, rounds=3, clock=lambda: now, tick=tick)
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_interleave_keeps_the_collector_out_and_puts_it_back():
    enabled = []
    assert gc.isenabled()
    interleave({"a": lambda: enabled.append(gc.isenabled())}, rounds=2)
    assert enabled == [False, False] and gc.isenabled()

    def fail():
        raise RuntimeError("broken provider")

    with pytest.raises(RuntimeError, match="broken provider"):
        interleave({"a": fail}, rounds=1)
    assert gc.isenabled()


def test_interleave_refuses_no_rounds():
    with pytest.raises(ValueError, match="rounds: at least 1 expected, got 0"):
        interleave({}, rounds=0)
