"""Occlusion, RISE and feature ablation by hand and from the table of coalitions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracles.coalitions import all_coalitions, feature_ablation, occlusion, rise, value_table


def _linear(weights):
    return lambda rows: (rows * weights).reshape(len(rows), -1).sum(1, keepdims=True)


def test_occlusion_by_hand():
    """Windows [0, 2), [2, 4), [4, 5): sums of w (x - b) over each; with stride 1 an element lies in one or two."""
    w, x = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 1, 1, 1, 2])
    assert occlusion(_linear(w), x, 0, (2,), (2,))[:, 0].tolist() == [3, 3, 7, 7, 10]
    assert occlusion(_linear(w), x, 1, (2,), (2,))[:, 0].tolist() == [0, 0, 0, 0, 5]
    assert occlusion(_linear(w), x, 0, (2,), (1,))[:, 0].tolist() == [3, 4, 6, 10.5, 14]
    assert occlusion(_linear(w), x, 0, (5,), (9,))[:, 0].tolist() == [20] * 5


def test_occlusion_refuses_windows_that_leave_elements_out():
    for window, stride in ((2, 3), (6, 1), (0, 1), (2, 0)):
        with pytest.raises(ValueError, match="want 1 <= window"):
            occlusion(_linear(np.ones(5)), np.ones(5), 0, (window,), (stride,))


def test_rise_by_hand():
    values, masks = np.array([[2.0, 1.0], [6.0, -1.0]]), np.array([[1.0, 0.0, 0.5], [1.0, 1.0, 0.0]])
    assert rise(values, masks, 0.5).tolist() == [[8, 0], [6, -1], [1, 0.5]]


def test_rise_over_all_masks_is_the_mean_where_the_element_is_shown():
    w, x = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([[2.0, 1.0], [-1.0, 4.0]])
    masks = all_coalitions(4).reshape(16, 2, 2)
    found = rise(_linear(w)(x * masks), masks, 0.5)
    np.testing.assert_allclose(found[..., 0], w * x / 2 + (w * x).sum() / 2, rtol=1e-14)


def test_feature_ablation_is_the_last_marginal():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 12)), rng.normal(size=(2, 4))
    x, background, labels = rng.normal(size=(2, 6)), rng.normal(size=(3, 2, 6)), np.arange(12).reshape(2, 6) % 5

    def f(rows):
        return np.maximum(rows.reshape(-1, 12) @ first.T, 0) @ second.T

    table = value_table(f, x, background, labels, 5)
    found = feature_ablation(f, x, background, labels, 5)
    assert found.shape == (5, 2)
    np.testing.assert_allclose(found, [table[31] - table[31 - 2**i] for i in range(5)], rtol=1e-12, atol=1e-13)
