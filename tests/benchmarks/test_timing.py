"""Statistics and order of interleaved timing, with a clock that the test winds."""

from __future__ import annotations

import gc
import weakref

import pytest

from reluxfast.benchmarks.timing import Rounds, Stats, interleave, paired_ratio, settled_heap, summarise


def test_summarise_takes_the_outer_order_statistics():
    assert summarise([5, 1, 2, 4, 3]) == Stats(median=3.0, low=1.0, high=5.0, count=5)
    assert summarise([5, 1, 2, 4, 3, 6]) == Stats(median=3.5, low=2.0, high=5.0, count=6)
    assert summarise(range(100)) == Stats(median=49.5, low=19.0, high=80.0, count=100)
    assert summarise([7.0]) == Stats(7.0, 7.0, 7.0, 1)
    with pytest.raises(ValueError, match="sample: at least one measurement"):
        summarise([])


def test_paired_ratio_cancels_drift_of_the_machine():
    base = [1.0, 10.0, 3.0]  # the same work on a machine that slows down tenfold in the middle
    assert paired_ratio([2 * t for t in base], base) == Stats(2.0, 2.0, 2.0, 3)
    assert paired_ratio([2.0, 6.0, 9.0], [1.0, 2.0]) == Stats(2.5, 2.0, 3.0, 2)  # the third round has one of them


class Clock:
    """A clock that the work winds."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def __call__(self):
        return self.now

    def work(self, name, cost):
        def call():
            self.order.append(name)
            self.now += cost

        return call


def test_interleave_runs_a_b_a_b_and_times_each_alone():
    clock = Clock()
    calls = {"a": clock.work("a", 1.0), "b": clock.work("b", 2.0)}
    assert interleave(calls, Rounds.exactly(3), clock) == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert clock.order == ["a", "b"] * 3


@pytest.mark.parametrize(("cost", "count"), [(100.0, 3), (1.0, 10), (0.1, 20)])
def test_rounds_follow_the_time_they_take(cost, count):
    clock = Clock()
    assert len(interleave({"a": clock.work("a", cost)}, Rounds(3, 20, 10.0), clock)["a"]) == count


def test_who_takes_long_does_not_keep_the_others_from_being_timed_often():
    clock = Clock()
    calls = {"slow": clock.work("slow", 4.0), "fast": clock.work("fast", 0.5)}
    found = interleave(calls, Rounds(2, 20, 6.0), clock)
    assert len(found["slow"]) == 2 and len(found["fast"]) == 6  # three seconds each, or twice
    assert clock.order == ["slow", "fast"] * 2 + ["fast"] * 4


@pytest.mark.parametrize(("cost", "count"), [(16.0, 3), (14.0, 4), (1.0, 5)])
def test_three_rounds_have_to_do_where_everybody_takes_long(cost, count):
    clock = Clock()
    assert len(interleave({"a": clock.work("a", cost)}, Rounds(4, 20, 5.0, 45.0), clock)["a"]) == count


def test_interleave_keeps_the_collector_out_and_puts_it_back():
    enabled = []
    assert gc.isenabled()
    interleave({"a": lambda: enabled.append(gc.isenabled())}, Rounds.exactly(2))
    assert enabled == [False, False] and gc.isenabled()

    def fail():
        raise RuntimeError("broken provider")

    with pytest.raises(RuntimeError, match="broken provider"):
        interleave({"a": fail}, Rounds.exactly(1))
    assert gc.isenabled()


def test_garbage_is_collected_between_calls_but_not_what_was_there():
    class Ring:
        def __init__(self):
            self.own = self

    before, alive = Ring(), []
    known = weakref.ref(before)
    del before
    gc.collect()
    assert known() is None

    def make():
        ring = Ring()
        alive.append(weakref.ref(ring))

    interleave({"a": make, "b": lambda: alive.append(alive[-1]() is None)}, Rounds.exactly(2))
    assert alive[1] is True and alive[3] is True and gc.get_freeze_count() == 0


def test_a_settled_heap_is_settled_once():
    with settled_heap():
        count = gc.get_freeze_count()
        with settled_heap():
            assert gc.get_freeze_count() == count > 0
        assert gc.get_freeze_count() == count
    assert gc.get_freeze_count() == 0


def test_rounds_refuse_none():
    assert interleave({}, Rounds.exactly(2)) == {}
    for least, most in ((0, 1), (3, 2)):
        with pytest.raises(ValueError, match=f"1 <= least <= most expected, got {least} and {most}"):
            Rounds(least, most)
