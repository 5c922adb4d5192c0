"""Sampling needs as much memory for many pairs as for few, whichever way chains are walked."""

from __future__ import annotations

from reluxfast.benchmarks.fresh import in_fresh_process
from tests.coalitions import peaks


def test_peaks_do_not_grow_with_the_number_of_pairs():
    found = in_fresh_process(peaks.__name__, {"pairs": [64, 256]})
    assert found.keys() == peaks.CASES.keys()
    for path, (few, many) in found.items():
        # Held at once are 10 MB and more, which four times as many pairs would need four times.
        assert few > 10e6 and abs(many - few) < 4e6, (path, few, many)
