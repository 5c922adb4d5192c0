"""Interleaved timing and its statistics: median and 20-80 % band, ratios taken within a round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
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
    """How often everybody runs: at least `least` times, then on until `seconds` have passed, at most `most` times."""

    least: int
    most: int
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"rounds: 1 <= least <= most expected, got {self.least} and {self.most}")

    @classmethod
    def exactly(cls, count: int) -> Rounds:
        """`count` rounds, however long they take."""
        return cls(count, count)


def summarise(sample: Sequence[float]) -> Stats:
    """Median, 20 % and 80 % quantile (linear interpolation between order statistics) of at least one number."""
    if len(sample) == 0:
        raise ValueError("sample: at least one measurement expected, got none; run one round or more")
    low, median, high = np.quantile(np.asarray(sample, dtype=np.float64), (0.2, 0.5, 0.8))
    return Stats(float(median), float(low), float(high), len(sample))


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Stats:
    """Statistics of numerator[i] / denominator[i], both of round i: drift of the machine cancels within a round."""
    return summarise([a / b for a, b in zip(numerator, denominator, strict=True)])


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: Rounds,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time every call once per round, in the order A B C A B C ...; seconds per name, one entry per round.

    Garbage is collected between the calls, never within, and what is there at the start is left alone: a full
    collection would take longer than many a call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        start = clock()
        for done in range(rounds.most if calls else 0):
            if done >= rounds.least and clock() - start >= rounds.seconds:
                break
            for name, call in calls.items():
                gc.collect()
                before = clock()
                result = call()
                seconds[name].append(clock() - before)
                del result
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
    return seconds
