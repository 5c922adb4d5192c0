"""How often a function is called, and with how many rows, beside shap."""

from __future__ import annotations

import numpy as np
import pytest

from reluxfast.compat import shap as ours
from tests.compat.shap.support import close, rows, shap, vector

WIDE, MANY = rows(2, 8), rows(60, 8, 1)


class Counting:
    """`vector`, and what it was called with."""

    def __init__(self):
        self.rows, self.calls, self.largest = 0, 0, 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.rows, self.calls, self.largest = self.rows + len(x), self.calls + 1, max(self.largest, len(x))
        return vector(x)


CASES = {
    "permutation": lambda of, f, b, x: of.PermutationExplainer(f, b)(x, silent=True),
    "permutation, batches": lambda of, f, b, x: of.PermutationExplainer(f, b)(x, batch_size=10, silent=True),
    "exact": lambda of, f, b, x: of.ExactExplainer(f, b)(x, silent=True),
    "kernel": lambda of, f, b, x: of.KernelExplainer(f, b)(x, silent=True),
    # A link changes no calls; shap's own code takes compiled ones alone.
    "linked": lambda of, f, b, x: of.ExactExplainer(f, b, **({"link": lambda y: y} if of is ours else {}))(
        x, silent=True
    ),
}


# shap's kernel explainer calls nothing for a single feature.
SIZES = [(case, features) for case in CASES for features in (1, 4, 8) if (case, features) != ("kernel", 1)]


@pytest.mark.parametrize("backgrounds", [1, 2, 60])
@pytest.mark.parametrize(("case", "features"), SIZES)
def test_a_function_is_given_no_more_rows_than_by_shap(case, backgrounds, features):
    spent = []
    for of in (ours, shap):
        f = Counting()
        CASES[case](of, f, MANY[:backgrounds, :features], WIDE[:1, :features])
        spent.append(f.rows)
    assert spent[0] <= spent[1]


@pytest.mark.parametrize("case", ["permutation", "exact", "kernel"])
def test_calls_span_background_rows(case):
    """60 background rows of 254 coalitions at most are but a few calls of a bounded size."""
    f = Counting()
    CASES[case](ours, f, MANY, WIDE)
    assert f.calls <= 8 and f.largest <= 8192


def test_calls_are_as_large_as_asked_for():
    f = Counting()
    small = ours.ExactExplainer(f, MANY)(WIDE, batch_size=100)
    assert f.largest == 100
    close(small.values, ours.ExactExplainer(vector, MANY)(WIDE).values, 1e-12)
