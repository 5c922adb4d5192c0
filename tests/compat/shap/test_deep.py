"""DeepExplainer against shap's on networks written with modules, and on the same networks written otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.compat.shap import DeepExplainer, GradientExplainer, deep
from tests.compat.shap.networks import NETWORKS, FunctionalImage, Image, ReusedImage, drawn, listed, network
from tests.compat.shap.support import close, settled, shap
from tests.support import assert_untouched, fingerprint


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_values(name, dtype, tolerance):
    model, x, b = network(name, dtype)
    ours, theirs = DeepExplainer(model, b), shap.DeepExplainer(model, b)
    found, expected = ours.shap_values(x), theirs.shap_values(x)
    assert type(found) is type(expected)
    for mine, peers in zip(listed(found), listed(expected), strict=True):
        close(mine, peers, tolerance)
    close(ours.expected_value, theirs.expected_value, 1e-6)


@pytest.mark.parametrize("written", [FunctionalImage, ReusedImage])
def test_however_the_network_is_written(written):
    _, x, b = network("image")
    expected = shap.DeepExplainer(settled(Image), b).shap_values(x)
    model = settled(written)
    close(DeepExplainer(model, b).shap_values(x), expected, 1e-5)
    theirs = shap.DeepExplainer(settled(written), b)
    if written is ReusedImage:
        with pytest.raises(RuntimeError, match="size of tensor"):
            theirs.shap_values(x)
    else:
        off = np.abs(theirs.shap_values(x, check_additivity=False) - expected).max()
        assert off > 0.01 * np.abs(expected).max()


def test_ranked_outputs():
    """shap's own trip its check of additivity, and are right without it."""
    model, x, b = network("image")
    ours, theirs = DeepExplainer(model, b), shap.DeepExplainer(model, b)
    for order in ("max", "min", "max_abs"):
        found, ranks = ours.shap_values(x, ranked_outputs=2, output_rank_order=order)
        expected, indices = theirs.shap_values(x, ranked_outputs=2, output_rank_order=order, check_additivity=False)
        close(found, expected, 1e-5)
        assert torch.equal(ranks, indices) and ranks.dtype == indices.dtype
    with pytest.raises(AssertionError):
        theirs.shap_values(x, ranked_outputs=2)
    single, x, b = network("one_output")
    found, ranks = DeepExplainer(single, b).shap_values(x, ranked_outputs=1)
    expected, indices = shap.DeepExplainer(single, b).shap_values(x, ranked_outputs=1)
    close(found, expected, 1e-5)
    assert torch.equal(ranks, indices) and ranks.dtype == indices.dtype


def test_values_that_do_not_add_up_are_an_error():
    """Outputs so large that float32 is 0.01 off."""
    model = settled(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))
    with torch.no_grad():
        model[2].weight *= 1e6
    x, b = drawn([(6,)], 3, 1), drawn([(6,)], 5, 2)
    for explainer in (DeepExplainer, shap.DeepExplainer):
        with pytest.raises(AssertionError, match="The SHAP explanations do not sum up to the model's output!"):
            explainer(model, b).shap_values(x)
    with pytest.raises(rx.ReluxfastError, match="check_additivity=False"):
        DeepExplainer(model, b).shap_values(x)
    ours = DeepExplainer(model, b).shap_values(x, check_additivity=False)
    close(ours, shap.DeepExplainer(model, b).shap_values(x, check_additivity=False), 1e-5)


def test_pairs_in_batches_of_any_size(monkeypatch):
    model, x, b = network("two_inputs", torch.float64)
    whole = DeepExplainer(model, b).shap_values(x)
    monkeypatch.setattr(deep, "_PAIR_BYTES", 1)
    for one, other in zip(DeepExplainer(model, b).shap_values(x), whole, strict=True):
        close(one, other, 1e-12)
    found, ranks = DeepExplainer(model, b).shap_values(x, ranked_outputs=1)
    for one, other in zip(found, whole, strict=True):
        rows = np.stack([other[r, ..., int(k)] for r, k in enumerate(ranks)])
        close(one[..., 0], rows, 1e-12)


@pytest.mark.parametrize("explainer", [DeepExplainer, GradientExplainer])
def test_the_explanation_of_several_inputs(explainer):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 2))

        def forward(self, x, y):
            return self.net(torch.cat([x, y], 1))

    model, x, b = settled(Both), drawn([(3,), (4,)], 2, 1), drawn([(3,), (4,)], 5, 2)
    found, theirs = explainer(model, b)(x), shap.DeepExplainer(model, b)(x)
    assert type(found.values) is type(theirs.values) is list and type(found.data) is type(theirs.data) is list
    for one, other, rows, given in zip(found.values, theirs.values, found.data, x, strict=True):
        assert one.shape == other.shape and np.array_equal(rows, given.numpy())
        if explainer is DeepExplainer:
            close(one, other.astype(one.dtype), 1e-5)


def test_rows_of_another_width():
    model, x, b = network("perceptron")
    for explainer in (DeepExplainer, GradientExplainer, shap.DeepExplainer, shap.GradientExplainer):
        with pytest.raises(RuntimeError):
            explainer(model, b).shap_values(x[:, :5])


def test_one_output_without_a_dimension():
    """shap fails on it."""
    model, x, b = network("one_output")
    flat = settled(lambda: nn.Sequential(model, nn.Flatten(0)))
    found = DeepExplainer(flat, b)
    close(found.shap_values(x), DeepExplainer(model, b).shap_values(x), 1e-6)
    assert found.expected_value.shape == (1,)


def test_the_explanation():
    model, x, b = network("perceptron")
    ours, theirs = DeepExplainer(model, b)(x), shap.DeepExplainer(model, b)(x)
    close(ours.values, theirs.values, 1e-5)
    assert np.array_equal(ours.data, x.numpy()) and ours.base_values.shape == (3, 3)
    assert np.allclose(ours.values.sum(1) + ours.base_values, model(x).detach(), atol=1e-5)


def test_weights_that_change_are_noticed():
    """shap goes on comparing with what the background gave when the explainer was made."""
    model, x, b = network("image")
    ours, theirs = DeepExplainer(model, b), shap.DeepExplainer(model, b)
    ours.shap_values(x)
    with torch.no_grad():
        model.head.weight *= 3
        model.head.bias += 1
    close(ours.shap_values(x), theirs.shap_values(x, check_additivity=False), 1e-5)
    with pytest.raises(AssertionError):
        theirs.shap_values(x)


def test_pairs_of_a_model_and_a_layer_are_refused():
    model, _, b = network("image")
    with pytest.raises(NotImplementedError, match=r"model must be an nn\.Module, got a pair of a module and a layer"):
        DeepExplainer((model, model.bn), b)


def test_no_rows():
    model, x, b = network("image")
    assert DeepExplainer(model, b).shap_values(x[:0]).shape == (0, 2, 6, 6, 3)


def test_the_model_is_only_read():
    """In training mode too, and after an error; it is explained as in eval mode."""
    model, x, b = network("image")
    expected = DeepExplainer(model, b).shap_values(x)
    model.train()
    before = fingerprint(model)
    close(DeepExplainer(model, b).shap_values(x), expected, 1e-6)
    with pytest.raises(rx.InvalidInput):
        DeepExplainer(model, b).shap_values(x[:, :1])
    assert_untouched(before, model)
