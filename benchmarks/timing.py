"""Interleaved timing and its statistics: median and 20-80 % band, ratios taken within a round."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stats:
    """Median and 20 % / 80 % quantiles of a sample, in the sample's unit."""

    median: float
    low: float
    high: float
    count: int

    def in_ms(self) -> dict[str, float]:
        """Seconds as a stored row has them."""
        return {
            "rounds": self.count,
            "median_ms": 1e3 * self.median,
            "p20_ms": 1e3 * self.low,
            "p80_ms": 1e3 * self.high,
        }

    def plain(self) -> dict[str, float]:
        """A ratio as a stored row has it."""
        return {"median": self.median, "p20": self.low, "p80": self.high}


@dataclass(frozen=True)
class Rounds:
    """How often everybody runs: `least` times, then on until its share of `seconds` is used up, at most `most` times.

    So one that takes long does not keep the others from being timed often. Where everybody takes long, three rounds
    have to do: no other begins once `limit` seconds have passed.
    """

    least: int
    most: int
    seconds: float = 0.0
    limit: float = math.inf

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"rounds: 1 <= least <= most expected, got {self.least} and {self.most}")

    @classmethod
    def exactly(cls, count: int) -> Rounds:
        """`count` rounds, however long they take."""
        return cls(count, count)


def summarise(sample: Sequence[float]) -> Stats:
    """Median, 20 % and 80 % quantile of at least one number.

    A quantile that falls between two order statistics is the outer one: the band of few rounds is not narrower than
    what they say. Of five or less it is their range.
    """
    if len(sample) == 0:
        raise ValueError("sample: at least one measurement expected, got none; run one round or more")
    numbers = np.asarray(sample, dtype=np.float64)
    low, high = np.quantile(numbers, 0.2, method="lower"), np.quantile(numbers, 0.8, method="higher")
    return Stats(float(np.median(numbers)), float(low), float(high), len(sample))


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Stats:
    """Statistics of numerator[i] / denominator[i], both of round i: drift of the machine cancels within a round.

    Rounds that only one of both took part in are the last ones, and do not count.
    """
    return summarise([a / b for a, b in zip(numerator, denominator, strict=False)])


@contextmanager
def settled_heap() -> Iterator[None]:
    """Lets collections of garbage look only at what is made inside: what is there takes a quarter of a second."""
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: Rounds,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time the calls in the order A B C A B C ...; seconds per name, one entry per round that it took part in.

    Garbage is collected between the calls, never within.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with settled_heap():
            start = clock()
            for done in range(rounds.most if calls else 0):
                if done >= 3 and clock() - start >= rounds.limit:
                    break
                share = rounds.seconds / len(calls) if done >= rounds.least else math.inf
                due = [name for name in calls if sum(seconds[name]) < share]
                for name in due:
                    gc.collect()
                    before = clock()
                    result = calls[name]()
                    seconds[name].append(clock() - before)
                    del result
    finally:
        if was_enabled:
            gc.enable()
    return seconds
