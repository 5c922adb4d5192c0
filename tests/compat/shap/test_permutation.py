"""PermutationExplainer against shap's, and against exact values."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import reluxfast as rx
from reluxfast.compat.shap import ExactExplainer, PermutationExplainer
from tests.compat.shap.support import (
    BACKGROUND,
    D,
    close,
    column,
    layer,
    quadratic,
    rows,
    scalar,
    shap,
    vector,
    within_errors,
)

X, B = rows(3), rows(BACKGROUND, seed=1)


@pytest.mark.parametrize("f", [scalar, column, vector], ids=lambda f: f.__name__)
def test_form_of_an_explanation(f):
    ours, theirs = PermutationExplainer(f, B)(X, silent=True), shap.PermutationExplainer(f, B)(X, silent=True)
    assert type(ours) is type(theirs)
    for name in ("values", "base_values", "data"):
        mine, peers = getattr(ours, name), getattr(theirs, name)
        assert mine.shape == peers.shape and mine.dtype == peers.dtype, name
    assert ours.feature_names == theirs.feature_names and ours.output_names == theirs.output_names
    assert ours.error_std is None and ours.compute_time > 0
    close(ours.base_values, theirs.base_values, 1e-12)
    assert np.array_equal(ours.data, X)


def test_functions_of_second_order_are_exact():
    """Whatever the orders: shap's and ours differ."""
    one = 2 * D + 1
    ours, theirs = PermutationExplainer(quadratic, B, seed=3), shap.PermutationExplainer(quadratic, B, seed=3)
    found, expected = ours(X, max_evals=one), theirs(X, max_evals=one, silent=True)
    close(found.values, expected.values, 1e-10)
    close(found.values.sum(1) + found.base_values, quadratic(X), 1e-12)


@pytest.mark.parametrize("f", [scalar, vector], ids=lambda f: f.__name__)
def test_within_its_errors_of_exact_values(f):
    found = PermutationExplainer(f, B, seed=1)(X, error_bounds=True)
    exact = shap.ExactExplainer(f, B)(X, silent=True)
    assert found.error_std.shape == found.values.shape
    pairs = 500 // (2 * D + 1)
    within_errors(found.values, found.error_std, exact.values, pairs)


def test_agrees_with_shap_in_distribution():
    """Means over seeds are equal, and so is what single calls vary by."""
    ours = np.stack([PermutationExplainer(scalar, B, seed=s).shap_values(X[:1], 2) for s in range(40)])
    theirs = []
    for s in range(40):
        theirs.append(
            shap.PermutationExplainer(scalar, B, seed=s)(X[:1], max_evals=2 * (2 * D + 1), silent=True).values
        )
    theirs = np.stack(theirs)
    spread = np.sqrt(ours.var(0, ddof=1) / 40 + theirs.var(0, ddof=1) / 40)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) / spread).max() < 4.5
    # A ratio of variances with 39 degrees of freedom each: 1/3 .. 3 but once in 1000.
    assert 1 / 3 < (ours.var(0).sum() / theirs.var(0).sum()) < 3


def test_the_budget_is_counted_as_in_shap():
    class Counting:
        rows = 0

        def __call__(self, x):
            self.rows += len(x)
            return scalar(x)

    def spent(**options):
        f = Counting()
        found = PermutationExplainer(f, B[:2])(X[:1], batch_size=1, error_bounds=True, **options)
        return f.rows, found

    # Pairs over two background rows, 2 (d - 1) each, x, and the background.
    for evals, pairs in ((13, 1), (25, 1), (26, 2), (500, 38), ("auto", 20 * D // (2 * D + 1))):
        assert spent(max_evals=evals)[0] == pairs * 2 * (D - 1) * 2 + 1 + 2
    assert np.isnan(spent(max_evals=13)[1].error_std).all()


def test_every_background_row_counts():
    many = rows(150, seed=4)
    found = PermutationExplainer(quadratic, many)(X)
    whole = shap.maskers.Independent(many, max_samples=150)
    close(found.values, shap.ExactExplainer(quadratic, whole)(X, silent=True).values, 1e-10)


def test_one_seed_one_answer():
    """On one object as on two; numpy's generator is neither read nor set."""
    state = np.random.get_state()[1].copy()
    one, other = PermutationExplainer(scalar, B, seed=5), PermutationExplainer(scalar, B, seed=5)
    first = one(X).values
    assert np.array_equal(one(X).values, first) and np.array_equal(other(X).values, first)
    assert np.array_equal(np.random.get_state()[1], state)
    assert not np.array_equal(PermutationExplainer(scalar, B, seed=6)(X).values, first)
    none = PermutationExplainer(scalar, B)(X).values
    assert np.array_equal(PermutationExplainer(scalar, B, seed=0)(X).values, none)


def test_batches_change_nothing():
    ours = PermutationExplainer(vector, B, max_evals=40)
    whole = ours(X).values
    for size in (1, 7, 100):
        close(ours(X, batch_size=size).values, whole, 1e-12)


def test_shap_values_are_a_bare_array():
    values = PermutationExplainer(vector, B).shap_values(X, npermutations=3)
    assert values.shape == shap.PermutationExplainer(vector, B).shap_values(X, 3, silent=True).shape
    assert np.array_equal(values, PermutationExplainer(vector, B)(X, max_evals=3 * (2 * D + 1)).values)
    assert PermutationExplainer(column, B).shap_values(X).shape == (3, D)


def test_defaults_of_calls_are_given_at_construction():
    ours = PermutationExplainer(scalar, B, max_evals=26, error_bounds=True)
    found = ours(X)
    assert found.error_std is not None
    assert np.array_equal(found.values, PermutationExplainer(scalar, B)(X, max_evals=26).values)
    assert ours(X, error_bounds=False).error_std is None


def test_outputs_that_are_chosen():
    whole = PermutationExplainer(vector, B)(X, error_bounds=True)
    found = PermutationExplainer(vector, B)(X, outputs=[2, 0], error_bounds=True)
    assert np.array_equal(found.values, whole.values[..., [2, 0]])
    assert np.array_equal(found.base_values, whole.base_values[:, [2, 0]])
    assert np.array_equal(found.error_std, whole.error_std[..., [2, 0]])
    assert found.output_names == ["Output 2", "Output 0"]
    with pytest.raises(rx.InvalidInput, match="outputs must be numbers of outputs below 3, got"):
        PermutationExplainer(vector, B)(X, outputs=[3])


def test_features_that_do_not_vary_get_nothing_and_cost_nothing():
    x, b = X.copy(), B.copy()
    x[:, [1, 4]] = b[:, [1, 4]] = 0.5
    x[2, 0] = 0.25
    b[:, 0] = 0.25
    ours = PermutationExplainer(vector, b)
    found = ours(x, max_evals=9)
    assert (found.values[:, [1, 4]] == 0).all() and (found.values[2, 0] == 0).all()
    assert (found.values[:2, [0, 2, 3, 5]] != 0).all()
    close(found.values.sum(1) + found.base_values, vector(x), 1e-12)
    shap.PermutationExplainer(vector, b)(x, max_evals=9, silent=True)
    with pytest.raises(rx.InvalidInput, match=r"max_evals must be at least 2 \* num_features \+ 1 = 9"):
        ours(x, max_evals=8)
    same = PermutationExplainer(vector, b[:1])(b[:1])
    assert (same.values == 0).all() and np.allclose(same.base_values, vector(b[:1]))


@pytest.mark.parametrize("options", [{}, {"link": lambda y: 2 * y}], ids=["plain", "linked"])
def test_an_interrupt_is_no_answer(options):
    calls = []

    def model(x):
        calls.append(len(x))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return scalar(x)

    with pytest.raises(KeyboardInterrupt):
        PermutationExplainer(model, B, **options)(X, batch_size=14)
    assert len(calls) == 4


def test_missing_values_reach_the_model():
    """A model that knows what to do with NaN; shap's counts it as a value like others."""
    x, b = X.copy(), B.copy()
    x[0, 1] = b[2, 3] = np.nan
    f = lambda v: scalar(np.nan_to_num(v, nan=-1.0))  # noqa: E731
    found = PermutationExplainer(f, b)(x, max_evals=13 * 4)
    expected = shap.ExactExplainer(f, b)(x, silent=True)
    assert np.isfinite(found.values).all()
    close(ExactExplainer(f, b)(x).values, expected.values, 1e-9)


def test_no_rows():
    assert PermutationExplainer(vector, B).shap_values(X[:0]).shape == (0, D, 3)
    assert PermutationExplainer(scalar, B)(X[:0]).values.shape == (0, D)


@pytest.mark.parametrize(
    ("seed", "kind"), [(1.5, TypeError), ("a", TypeError), (True, TypeError), (-1, ValueError), (1 << 32, ValueError)]
)
def test_a_seed_that_is_none(seed, kind):
    with pytest.raises(kind, match="seed must be") as raised:
        PermutationExplainer(scalar, B, seed=seed)
    assert isinstance(raised.value, rx.InvalidInput)
    if not isinstance(seed, bool):
        with pytest.raises(kind):
            shap.PermutationExplainer(scalar, B, seed=seed)


def test_outputs_that_operations_choose():
    """Of each row its largest output."""

    def apart(x):
        return x @ layer(D) + x[:, :1] ** 3

    whole = PermutationExplainer(apart, B)(X, error_bounds=True)
    found = PermutationExplainer(apart, B)(X, outputs=shap.Explanation.argsort.flip[:1], error_bounds=True)
    largest = apart(X).argmax(1)
    assert len(set(largest)) > 1
    for name in ("values", "error_std"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)[range(3), :, largest][..., None])
    assert np.array_equal(found.base_values, whole.base_values[range(3), largest][:, None])
    assert [str(name) for name in found[1].output_names] == [f"Output {largest[1]}"]
    same = PermutationExplainer(apart, B)(X[:1], outputs=shap.Explanation.argsort.flip[:2])
    assert same.output_names == [f"Output {k}" for k in apart(X[:1])[0].argsort()[::-1][:2]]
    with pytest.raises(rx.InvalidInput, match="outputs must be numbers of outputs below 3"):
        PermutationExplainer(apart, B)(X, outputs=shap.Explanation.abs)


def test_names_of_outputs():
    names = ["a", "b", "c"]
    for explainer in (PermutationExplainer, ExactExplainer):
        assert explainer(vector, B, output_names=names)(X).output_names == names
    found = PermutationExplainer(vector, B, output_names=names)(X, outputs=[2, 0])
    assert found.output_names == ["c", "a"]
    with pytest.raises(rx.InvalidInput, match="output_names must name the 3 outputs of the model, got 2 names"):
        PermutationExplainer(vector, B, output_names=names[:2])(X)


def test_options_are_named_in_the_signature():
    theirs = inspect.signature(shap.PermutationExplainer.__call__).parameters
    assert set(inspect.signature(PermutationExplainer.__call__).parameters) == set(theirs) - {"kwargs"}
    assert {"model", "masker", "link", "seed"} <= set(inspect.signature(PermutationExplainer).parameters)
