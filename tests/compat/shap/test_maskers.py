"""Maskers: background rows that are all kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.compat.shap import ExactExplainer, PermutationExplainer, maskers
from tests.compat.shap.support import close, quadratic, rows, shap

X, MANY = rows(2), rows(150, seed=1)


def test_every_row_is_kept():
    masker = maskers.Independent(MANY)
    assert masker.shape == (150, 6) and np.array_equal(masker.data, MANY)
    expected = shap.ExactExplainer(quadratic, shap.maskers.Independent(MANY, max_samples=150))(X, silent=True)
    close(PermutationExplainer(quadratic, masker)(X).values, expected.values, 1e-9)
    close(PermutationExplainer(quadratic, maskers.Independent(torch.from_numpy(MANY)))(X).values, expected.values, 1e-9)


def test_fewer_where_asked_for():
    masker = maskers.Independent(MANY, max_samples=20)
    assert masker.shape == (20, 6) and masker.max_samples == 20
    places = [np.flatnonzero((MANY == row).all(1)) for row in masker.data]
    assert all(len(p) == 1 for p in places) and len({int(p[0]) for p in places}) == 20
    assert np.array_equal(masker.data, shap.maskers.Independent(MANY, max_samples=20).data)
    assert np.array_equal(maskers.Independent(MANY, 150).data, MANY)
    with pytest.raises(rx.InvalidInput, match="max_samples must be a positive int"):
        maskers.Independent(MANY, max_samples=0)


def test_shaps_own_masker_is_taken_as_it_is():
    theirs = shap.maskers.Independent(MANY, max_samples=30)
    expected = shap.ExactExplainer(quadratic, theirs)(X, silent=True)
    close(ExactExplainer(quadratic, theirs)(X).values, expected.values, 1e-9)


def test_frames_make_the_model_see_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: there are no DataFrames")
    names = list("abcdef")
    for kind in (maskers, shap.maskers):
        masker = kind.Independent(pandas.DataFrame(MANY[:9], columns=names))
        seen = []

        def model(x, seen=seen):
            seen.append(list(x.columns))
            return x["a"].to_numpy() * x["b"].to_numpy()

        values = PermutationExplainer(model, masker)(X).values
        assert seen[0] == names and (values[:, 2:] == 0).all() and (values[:, :2] != 0).all()


def test_other_maskers_are_refused():
    for masker in (shap.maskers.Partition(MANY[:5]), lambda mask, x: x):
        with pytest.raises(NotImplementedError, match="masker must be background rows or a masker of the Independent"):
            PermutationExplainer(quadratic, masker)


def test_other_names_are_shaps():
    assert maskers.Partition is shap.maskers.Partition
    with pytest.raises(AttributeError):
        _ = maskers.Nothing
