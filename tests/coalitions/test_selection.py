"""KernelSHAP with a choice of players."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.coalitions.kernel import every
from reluxfast.coalitions.selection import kept
from tests.coalitions.support import close, network, rows

linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed: nobody chooses")
WEIGHTS = np.array([3.0, 0.0, -2.0, 0.0, 1.0, 0.5, 0.0, -0.25])
ALL = 1 << 8


def sparse(batch: np.ndarray) -> np.ndarray:
    """A linear function of five of eight features, and one of two."""
    return np.stack([batch @ WEIGHTS, batch[:, 1] - batch[:, 7]], 1)


X, B = np.random.default_rng(0).normal(size=(2, 2, 8))


@pytest.mark.parametrize("select", [8, 100, None])
def test_enough_players_are_all_players(select):
    model, x = network(8).double(), rows(2, 8).double()
    found = rx.kernel_shap(model, x, n_evaluations=ALL, select=select)
    close(found.values, rx.shapley(model, x, estimator="exact").values, 1e-10)


@pytest.mark.parametrize("select", ["aic", "bic", 1e-5, 5])
def test_players_without_a_part_get_nothing(select):
    found = rx.kernel_shap(sparse, X, B, n_evaluations=2 * ALL, select=select).values.numpy()
    expected = np.stack([(X - B.mean(0)) * WEIGHTS, (X - B.mean(0)) * [0, 1, 0, 0, 0, 0, 0, -1]], 1)
    assert np.abs(found - expected).max() < 1e-9


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_first_of_least_angle_regression(count):
    """They are chosen for each row and output, have the values of a fit to them alone, and sum to the whole."""
    model, x = network(8).double(), rows(3, 8).double()
    found = rx.kernel_shap(model, x, n_evaluations=ALL, select=count)
    assert ((found.values != 0).sum(-1) == count).all()
    close(found.values.sum(-1), found.output - found.base_value, 1e-12)
    masks = every(8)
    z, weights = masks.present.astype(float), masks.weights / masks.weights.sum()
    for row, k in np.ndindex(3, 3):
        batch = torch.from_numpy(z) * x[row]
        gain = (model(batch)[:, k] - model(torch.zeros_like(x[:1]))[0, k]).detach().numpy()
        delta = float(found.output[row, k] - found.base_value[row, k])
        players = found.values[row, k].nonzero().flatten().numpy()
        assert np.array_equal(players, kept(count, z, weights, gain, delta))
        # The last of them takes what the others leave.
        *others, last = players
        design = z[:, others] - z[:, [last]]
        root = np.sqrt(weights)
        fitted = np.linalg.lstsq(root[:, None] * design, root * (gain - z[:, last] * delta), rcond=None)[0]
        wanted = np.append(fitted, delta - fitted.sum())
        assert np.allclose(found.values[row, k, players].numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_a_penalty_beyond_everything_leaves_nobody():
    assert (rx.kernel_shap(sparse, X, B, n_evaluations=2 * ALL, select=1e9).values == 0).all()


@pytest.mark.parametrize("select", [0, -1, "lars", True, float("nan"), float("inf"), [3]])
def test_wrong_choices(select):
    with pytest.raises(rx.InvalidInput, match="select must be None, a number of players, a penalty above 0, or one of"):
        rx.kernel_shap(sparse, X, B, n_evaluations=2 * ALL, select=select)
