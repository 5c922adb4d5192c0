"""GradientExplainer against shap's, within the errors of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.compat.shap import GradientExplainer
from tests.compat.shap.networks import NETWORKS, listed, network
from tests.compat.shap.support import close, shap, student
from tests.support import assert_untouched, fingerprint

N = 200


@pytest.mark.parametrize("name", NETWORKS)
def test_values(name):
    model, x, b = network(name)
    ours, variances = GradientExplainer(model, b).shap_values(x, nsamples=N, rseed=1, return_variances=True)
    theirs, spread = shap.GradientExplainer(model, b).shap_values(x, nsamples=N, rseed=1, return_variances=True)
    assert type(ours) is type(theirs) and type(variances) is type(spread) and len(variances) == len(spread)
    for i, (mine, peers) in enumerate(zip(listed(ours), listed(theirs), strict=True)):
        assert mine.shape == peers.shape and mine.dtype == peers.dtype
        own, other = ([listed(of_output)[i] for of_output in each] for each in (variances, spread))
        assert own[0].shape == other[0].shape and own[0].dtype == other[0].dtype
        # shap divides the variance of single samples by the root of their number.
        errors = np.sqrt(np.stack(own, -1) + np.stack(other, -1) / np.sqrt(N))
        z = np.abs(mine - peers) / (errors + 1e-9)
        assert 0.1 < z.max() < student.ppf(1 - 0.001 / (2 * z.size), N - 1)


@pytest.mark.parametrize("name", ["image", "two_inputs", "one_output"])
def test_it_is_the_engines_method(name):
    model, x, b = network(name, torch.float64)
    values, variances = GradientExplainer(model, b).shap_values(x, nsamples=7, rseed=4, return_variances=True)
    inputs, background = tuple(listed(x)), tuple(listed(b))
    for k in range(len(variances)):
        one = rx.expected_gradients(model, inputs, k, baselines=background, n_samples=7, seed=4)
        for i in range(len(inputs)):
            close(listed(values)[i][..., k], one.values[i].numpy(), 1e-12)
            close(listed(variances[k])[i], one.standard_error[i].square().numpy(), 1e-10)


def test_ranked_outputs():
    model, x, b = network("image")
    ours, theirs = GradientExplainer(model, b), shap.GradientExplainer(model, b)
    whole = ours.shap_values(x, nsamples=5)
    for order in ("max", "min", "max_abs"):
        found, ranks = ours.shap_values(x, nsamples=5, ranked_outputs=2, output_rank_order=order)
        expected, indices = theirs.shap_values(x, nsamples=5, ranked_outputs=2, output_rank_order=order)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        assert torch.equal(ranks, indices) and ranks.dtype == indices.dtype
        for r, place in np.ndindex(3, 2):
            close(found[r, ..., place], whole[r, ..., int(ranks[r, place])], 1e-5)
    three = ours.shap_values(x, nsamples=5, ranked_outputs=2, return_variances=True)
    assert len(three) == 3 and len(three[1]) == 2 and torch.equal(three[2], ours.shap_values(x, 5, 2)[1])
    single, x, b = network("one_output")
    found, ranks = GradientExplainer(single, b).shap_values(x, 5, ranked_outputs=1)
    expected, indices = shap.GradientExplainer(single, b).shap_values(x, 5, ranked_outputs=1)
    assert found.shape == expected.shape and torch.equal(ranks, indices) and ranks.dtype == indices.dtype


@pytest.mark.parametrize(
    ("name", "layer"), [("image", "conv"), ("image", "pool"), ("image", "last"), ("two_inputs", "head")]
)
def test_what_a_layer_takes(name, layer):
    model, x, b = network(name)
    pair = (model, getattr(model, layer))
    theirs, spread = shap.GradientExplainer(pair, b).shap_values(x, nsamples=N, rseed=1, return_variances=True)
    before = fingerprint(model)
    ours, variances = GradientExplainer(pair, b).shap_values(x, nsamples=N, rseed=1, return_variances=True)
    assert_untouched(before, model)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert [type(v) for v in variances] == [type(v) for v in spread]
    own, other = (np.stack([listed(v)[0] for v in each], -1) for each in (variances, spread))
    z = np.abs(ours - theirs) / (np.sqrt(own + other / np.sqrt(N)) + 1e-9)
    assert 0.1 < z.max() < student.ppf(1 - 0.001 / (2 * z.size), N - 1)
    found, ranks = GradientExplainer(pair, b).shap_values(x, nsamples=N, rseed=1, ranked_outputs=1)
    for r in range(3):
        close(found[r, ..., 0], ours[r, ..., int(ranks[r, 0])], 1e-5)
    if name == "image":
        assert GradientExplainer(pair, b)(x, 5).values.shape == ours.shape


def test_same_draws_in_each_call():
    model, x, b = network("image")
    ours = GradientExplainer(model, b)
    state = np.random.get_state()[1].copy()
    first = ours.shap_values(x, nsamples=5)
    assert np.array_equal(ours.shap_values(x, nsamples=5), first)
    assert np.array_equal(ours.shap_values(x, nsamples=5, rseed=0), first)
    assert not np.array_equal(ours.shap_values(x, nsamples=5, rseed=1), first)
    assert np.array_equal(np.random.get_state()[1], state)


def test_smoothing():
    model, x, b = network("perceptron")
    plain = GradientExplainer(model, b).shap_values(x)
    ours, variances = GradientExplainer(model, b, local_smoothing=0.5).shap_values(x, return_variances=True)
    theirs = shap.GradientExplainer(model, b, local_smoothing=0.5)
    torch.manual_seed(0)
    expected, spread = theirs.shap_values(x, rseed=1, return_variances=True)
    errors = np.sqrt(np.stack(variances, -1) + np.stack(spread, -1) / np.sqrt(N))
    z = np.abs(ours - expected) / errors
    assert not np.array_equal(ours, plain) and z.max() < student.ppf(1 - 0.001 / (2 * z.size), N - 1)


def test_the_explanation():
    model, x, b = network("perceptron")
    ours, theirs = GradientExplainer(model, b)(x), shap.GradientExplainer(model, b)(x)
    assert ours.values.shape == theirs.values.shape and np.array_equal(ours.data, x.numpy())
    assert np.allclose(ours.base_values, model(b).mean(0).detach(), atol=1e-6)
    many = GradientExplainer(model, b)(x, nsamples=4000)
    gap = many.values.sum(1) + many.base_values - model(x).detach().numpy()
    assert np.abs(gap).max() < 0.05 * np.abs(many.values).max()


def test_arrays_and_one_output_without_a_dimension():
    model, x, b = network("one_output")
    expected = GradientExplainer(model, b).shap_values(x, nsamples=5)
    arrays = GradientExplainer(model, b.numpy().astype(np.float64)).shap_values(x.numpy().astype(np.float64), 5)
    assert np.array_equal(arrays, expected)
    flat = torch.nn.Sequential(model, torch.nn.Flatten(0)).eval()
    close(GradientExplainer(flat, b).shap_values(x, nsamples=5), expected, 1e-6)


def test_no_rows():
    model, x, b = network("image")
    assert GradientExplainer(model, b).shap_values(x[:0]).shape == (0, 2, 6, 6, 3)


def test_the_model_is_only_read():
    model, x, b = network("image")
    model.train()
    before = fingerprint(model)
    GradientExplainer(model, b).shap_values(x, nsamples=3)
    with pytest.raises(rx.InvalidInput):
        GradientExplainer(model, b).shap_values(x[:, :1])
    assert_untouched(before, model)
    assert not x.requires_grad and x.grad is None


@pytest.mark.parametrize("explainer", [GradientExplainer, shap.GradientExplainer], ids=["ours", "shap"])
def test_error_types(explainer):
    model, x, b = network("image")
    with pytest.raises(AssertionError):
        explainer(model, b).shap_values([x])
    with pytest.raises(ValueError, match="output_rank_order must be"):
        explainer(model, b).shap_values(x, ranked_outputs=1, output_rank_order="least")
    two, xs, bs = network("two_inputs")
    with pytest.raises(AssertionError):
        explainer(two, bs).shap_values(xs[0])


def test_what_is_refused():
    model, x, b = network("image")
    with pytest.raises(rx.InvalidInput, match="layer_input must be a module of the explained model"):
        GradientExplainer((model, torch.nn.ReLU()), b).shap_values(x)
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got function"):
        GradientExplainer(lambda x: x, b)
    with pytest.raises(NotImplementedError, match="session must be None"):
        GradientExplainer(model, b, "tf")
    with pytest.raises(AssertionError, match=r"X must be inputs of as many dimensions for an Explanation, got"):
        two, xs, bs = network("two_inputs")
        GradientExplainer(two, bs)(xs)
    with pytest.raises(rx.InvalidInput, match="data must have rows"):
        GradientExplainer(model, b[:0])
    with pytest.raises(RuntimeError, match=r"X must have rows of shape \(2, 6, 6\)"):
        GradientExplainer(model, b).shap_values(x[..., :5])
    with pytest.raises(rx.InvalidInput, match=r"model must return \(N,\) or \(N, K\)"):
        GradientExplainer(torch.nn.Conv2d(2, 3, 1), b).shap_values(x)
