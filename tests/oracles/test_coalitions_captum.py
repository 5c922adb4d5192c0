"""Occlusion and exact Shapley values of a convolutional net beside Captum's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles.coalitions import exact_shapley, from_module, occlusion, value_table

captum = pytest.importorskip("captum.attr", reason="captum is not installed: the oracle is not compared with it")


def _image_model(seed=0):
    """A convolutional ReLU net `(M, 2, 5, 6)` -> `(M, 3)` in float64, one image and one baseline."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3))
    x, baseline = torch.randn(2, 1, 2, 5, 6, dtype=torch.float64)
    return model.double().eval(), x, baseline


@pytest.mark.parametrize(
    ("window", "stride"),
    [((2, 2, 2), (2, 2, 2)), ((2, 3, 3), (1, 2, 1)), ((1, 4, 4), (1, 3, 3)), ((1, 1, 1), (1, 1, 1))],
)
def test_occlusion_beside_captum(window, stride):
    model, x, baseline = _image_model()
    found = occlusion(from_module(model), x[0], baseline[0], window, stride)
    for k in range(3):
        theirs = captum.Occlusion(model).attribute(x, window, stride, baseline, target=k)
        # Captum rounds the sum over windows to float32 and divides there: twice half a unit of the last place.
        np.testing.assert_allclose(found[..., k], theirs[0], rtol=2**-23)


def test_exact_shapley_of_groups_beside_captum():
    model, x, baseline = _image_model(1)
    labels = torch.arange(5)[:, None].expand(5, 6).expand(2, 5, 6).clone()
    labels[1] = (labels[1] + 2) % 5
    table = value_table(from_module(model), x[0], baseline, labels, 5)
    values = exact_shapley(table)
    # Captum adds 120 marginals up in float32; the k-th sum is k marginals large, 60 of them on average.
    bound = 60 * 2**-24 * (table.max(0) - table.min(0))
    for k in range(3):
        theirs = captum.ShapleyValues(model).attribute(
            x, baseline, target=k, feature_mask=labels[None], perturbations_per_eval=32
        )
        np.testing.assert_allclose(values[labels.numpy(), k], theirs[0], rtol=0, atol=bound[k])
