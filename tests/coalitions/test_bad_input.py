"""Inputs that are refused, with messages that say what to do, and unusual ones that are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from tests.coalitions.support import close, network, rows

X = rows(3, 6)
ESTIMATORS = ("exact", "permutation", "leverage")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baselines": [[1], [2, 3]]}, "baselines must hold numbers, as many in each row, got list"),
        ({"baselines": np.ma.masked_array(np.zeros(6), np.ones(6))}, "baselines must hold numbers"),
        ({"baselines": np.zeros(6) + 1j}, "baselines must hold numbers"),
        ({"baselines": torch.zeros(6) + 1j}, "baselines must be a dense Tensor of real numbers, got torch.complex64"),
        (
            {"baselines": torch.zeros(1, 6).to_sparse()},
            "baselines must be a dense Tensor of real numbers",
        ),
        ({"baselines": 0.5}, r"baselines must be one row \(6,\) or a set of rows \(B, 6\), got \(\)"),
        ({"baselines": torch.zeros(5)}, r"baselines must be one row \(6,\) or a set of rows \(B, 6\), got \(5,\)"),
        ({"baselines": torch.zeros(2, 5)}, r"baselines must be one row .*, got \(2, 5\)"),
        ({"baselines": torch.zeros(0, 6)}, r"baselines must be one row .*, got \(0, 6\)"),
        ({"players": torch.zeros(5, dtype=torch.int64)}, r"players must broadcast to the shape of a row, \(6,\)"),
        ({"players": torch.zeros(6)}, "players must hold integers that name the player of each element"),
        ({"players": [[0, 1], [2]]}, "players must hold integers .*, got rows of different lengths"),
        ({"n_evaluations": 50, "estimator": "exact"}, "n_evaluations must be at least 63 to ask for exact values of 6"),
        ({"estimator": "best"}, "estimator must be one of auto, exact, permutation, leverage, got 'best'"),
        ({"design": "sobol"}, "design must be one of antithetic, orthogonal, plain"),
        ({"background_mode": "some"}, "background_mode must be one of cycle, all"),
        ({"n_evaluations": 0}, "n_evaluations must be a positive int, got 0"),
        ({"n_evaluations": 10.5}, "n_evaluations must be an int, got 10.5"),
        ({"tolerance": 0.0}, "tolerance must be a finite number above 0, got 0.0"),
        ({"tolerance": 0.1, "estimator": "exact"}, "tolerance has no meaning for the exact estimator"),
        ({"tolerance": 0.1, "estimator": "leverage"}, "tolerance has no meaning for the leverage estimator"),
        ({"seed": 1.5}, "seed must be an int, got 1.5"),
        ({"allow_tf32": 1}, "allow_tf32 must be True or False, got 1"),
        ({"batch_size": 0}, "batch_size must be a positive int, got 0"),
        ({"memory_budget": 10}, r"memory_budget must hold at least one row \(\d+ bytes\), got 10"),
        ({"samples": 3}, "options of shapley are: baselines, players, .* got 'samples'"),
        ({"target": 7}, r"target must lie in \[-3, 2\]"),
        ({"target": [0, 1]}, r"target as a list must have one entry per row \(3\)"),
    ],
)
def test_shapley_refuses(options, message):
    for f in (network(6), lambda batch: network(6)(batch)):
        with pytest.raises(rx.InvalidInput, match=message):
            rx.shapley(f, X, **options)


def test_what_cannot_be_explained():
    with pytest.raises(
        rx.InvalidInput, match=r"f must be a module, an Explainer, .* or a function of a batch, got int"
    ):
        rx.shapley(3, X)
    with pytest.raises(rx.InvalidInput, match="or a function of a batch, got the class Linear"):
        rx.shapley(torch.nn.Linear, X)
    with pytest.raises(rx.InvalidInput, match="x must be one Tensor for coalition methods, got a tuple of 2"):
        rx.shapley(network(6), (X, X))
    with pytest.raises(rx.InvalidInput, match="x must hold numbers"):
        rx.shapley(lambda batch: batch, [["a", "b"]])
    with pytest.raises(rx.InvalidInput, match=r"x must hold numbers .* as many in each row, got list"):
        rx.shapley(lambda batch: batch.sum(1), [[1.0, 2.0], [3.0]])
    with pytest.raises(rx.InvalidInput, match=r"x must not be a masked array, .*Fill it: x\.filled"):
        rx.shapley(lambda batch: batch.sum(1), np.ma.masked_array([[1.0, 999.0]], [[False, True]]))
    with pytest.raises(rx.InvalidInput, match=r"x must be a Tensor to explain a model, got ndarray"):
        rx.shapley(network(6), np.zeros((2, 6)))
    with pytest.raises(rx.InvalidInput, match=r"x must be floating-point to be explained, got torch.int64"):
        rx.shapley(lambda batch: batch.sum(1), torch.zeros(2, 6, dtype=torch.int64))
    with pytest.raises(rx.InvalidInput, match=r"x must have elements in its rows, got \(2, 0\)"):
        rx.shapley(lambda batch: batch.sum(1), torch.zeros(2, 0))
    with pytest.raises(rx.InvalidInput, match=r"method must be one of .*shapley"):
        rx.attribute(network(6), X, method="shaply")


def test_functions_that_break_the_rules():
    with pytest.raises(rx.InvalidInput, match=r"f must return one output for each row of its batch, got an output of"):
        rx.shapley(lambda batch: batch.sum(), X)
    with pytest.raises(rx.InvalidInput, match=r"of shape \(1, 6\) for a batch of 256 rows"):
        rx.shapley(lambda batch: batch[:1], X)
    for output, message in ((None, "numbers, got NoneType of object"), (["a"] * 256, "numbers, got list of <U1")):
        with pytest.raises(rx.InvalidInput, match=f"f must return {message}"):
            rx.shapley(lambda batch, output=output: output, X)
    with pytest.raises(rx.InvalidInput, match=r"f must return real numbers, in a dense Tensor, got torch\.complex64"):
        rx.shapley(lambda batch: batch.sum(1).to(torch.complex64), X)
    with pytest.raises(rx.InvalidInput, match=r"f must return real numbers, in a dense Tensor, got .*sparse"):
        rx.shapley(lambda batch: batch.to_sparse(), X)
    with pytest.raises(rx.InvalidInput, match="f must return numbers, as many for each row, got list"):
        rx.shapley(lambda batch: [[1.0]] * (len(batch) - 1) + [[1.0, 2.0]], X)
    sizes = iter(range(2, 100))
    with pytest.raises(rx.InvalidInput, match=r"f must return rows of shape \(2,\), as it did before, got \(3,\)"):
        rx.shapley(lambda batch: batch[:, :1].expand(-1, next(sizes)), X)

    class Broken(Exception):
        pass

    def broken(batch):
        raise Broken("mine")

    with pytest.raises(Broken, match="mine"):
        rx.shapley(broken, X)


def test_outputs_that_are_not_finite_name_their_coalition():
    x = torch.ones(2, 4)

    def f(batch):
        both = (batch[:, 1] == 1) & (batch[:, 3] == 1) & (batch[:, 0] == 0) & (batch[:, 2] == 0)
        return torch.where(both, torch.nan, batch.sum(1))

    with pytest.raises(rx.ReluxfastError, match=r"got nan for row 0 with the players \[1, 3\] of 4 present"):
        rx.shapley(f, x)
    with pytest.raises(rx.ReluxfastError, match=r"got inf for row 0 with the players \[0, 1, 2, 3\] of 4 present"):
        rx.shapley(lambda batch: batch.sum(1) / 0.0, x)
    with pytest.raises(
        rx.ReluxfastError, match=r"players \[\] of 4 present and the others taken from background row 1"
    ):
        rx.shapley(lambda batch: 1 / (batch.sum(1) - 2.5), x, torch.tensor([[0.0] * 4, [2.5, 0, 0, 0]]))


def test_gaps_in_players_are_closed():
    dense = rx.shapley(network(6), X, players=torch.tensor([0, 0, 1, 2, 2, 1]))
    gaps = rx.shapley(network(6), X, players=torch.tensor([-5, -5, 3, 900, 900, 3]))
    assert torch.equal(dense.values, gaps.values) and dense.values.shape == (3, 3, 3)


def test_numpy_in_numpy_to_the_function():
    seen = []

    def f(batch):
        seen.append((type(batch), batch.dtype))
        return (batch**2).sum(1)

    for dtype in (np.float32, np.float64, np.int64):
        x = np.arange(12).reshape(3, 4).astype(dtype)
        result = rx.shapley(f, x, np.ones(4))
        close(result.values, (x.astype(float) ** 2 - 1), 1e-6)
    assert {kind for kind, _ in seen} == {np.ndarray} and {d for _, d in seen} == {np.dtype("f4"), np.dtype("f8")}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(dtype):
    x = rows(2, 6).to(dtype)
    result = rx.shapley(lambda batch: batch.sum(1) if batch.dtype == dtype else None, x)
    assert result.values.dtype == dtype
    close(result.values, x.double(), 1e-2 if dtype == torch.bfloat16 else 2e-3)


def test_a_function_may_write_into_its_batch():
    def f(batch):
        return batch.mul_(2).sum(1)

    x = X.clone()
    close(rx.shapley(f, x).values, 2 * X, 1e-6)
    assert torch.equal(x, X)


def test_an_explainer_and_its_backend():
    model = network(6)
    explainer = rx.Explainer(model, X, backend="reference")
    by_name = explainer.attribute(X, 1, "shapley", baselines=rows(2, 6, 3))
    close(by_name.values, rx.shapley(model, X, rows(2, 6, 3), target=1).values, 1e-5)
    assert torch.equal(rx.shapley(explainer, X, rows(2, 6, 3), target=1).values, by_name.values)
    assert "shapley" in rx.methods() and by_name.method == "shapley"


def test_training_goes_on():
    """A captured model is the model as it is now."""
    model = network(6)
    before = rx.shapley(model, X).values
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert not torch.allclose(rx.shapley(model, X).values, before)
    model.train()
    rx.shapley(model, X)
    assert model.training


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("occlusion", {"window": 1.5}, r"window must hold positive ints for the dimensions of a row \(6,\), got 1.5"),
        ("occlusion", {"window": None}, "window must hold positive ints"),
        ("occlusion", {"window": True}, "window must hold positive ints"),
        ("lime", {"n_evaluations": None}, "n_evaluations must be an int, got None"),
        (
            "lime",
            {"kernel_width": 0.01, "n_evaluations": 2},
            "kernel_width must be larger: of 2 coalitions of 6 players",
        ),
        ("rise", {"grid": None}, "grid must be an int, got None"),
        ("rise", {"n_evaluations": None}, "n_evaluations must be an int, got None"),
    ],
)
def test_other_methods_refuse(method, options, message):
    x = X.view(3, 1, 6) if method == "rise" else X
    with pytest.raises(rx.InvalidInput, match=message):
        getattr(rx, method)(lambda batch: batch.flatten(1).sum(1) + 70, x, **options)


def test_rows_without_dimensions():
    x = torch.rand(3)
    for estimator in ("exact", "permutation"):
        assert torch.allclose(rx.shapley(lambda batch: batch**2, x, estimator=estimator).values, x**2)
    with pytest.raises(rx.InvalidInput, match=r"x must have rows of at least one dimension for occlusion, got \(3,\)"):
        rx.occlusion(lambda batch: batch**2, x, window=1)


def test_numbers_of_numpy_are_numbers():
    found = rx.shapley(network(6), X, estimator="permutation", tolerance=np.float32(0.2))
    assert found.options["converged"] and bool(rx.lime(network(6), X, ridge=np.float64(1)).values.isfinite().all())


@pytest.mark.parametrize("method", ["shapley", "kernel_shap", "lime", "feature_ablation"])
def test_no_rows(method):
    for f in (network(6), lambda batch: batch.sum(1)):
        assert getattr(rx, method)(f, X[:0]).values.shape[0] == 0
        assert rx.shapley(f, X[:0], estimator="leverage").values.shape[0] == 0
        assert rx.occlusion(f, X[:0], window=2).values.shape[0] == 0


class Buffered:
    """Writes its outputs into the same memory every time."""

    def __init__(self):
        self.out = {}

    def __call__(self, batch):
        out = self.out.setdefault(len(batch), batch.new_empty(len(batch)))
        return torch.prod(batch[:, :3], 1, out=out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", ["exact", "permutation", "leverage", "kernel_shap", "lime", "feature_ablation"])
def test_functions_that_return_their_batch_or_their_own_memory(method, dtype):
    x, background = rows(5, 6).to(dtype), rows(2, 6, 2).to(dtype)
    name, options = ("shapley", {"estimator": method}) if method in ESTIMATORS else (method, {})
    for f, same in (
        (Buffered(), lambda batch: batch[:, :3].prod(1)),
        (lambda batch: batch[:, 1], lambda batch: batch[:, 1].clone()),
        (lambda batch: batch, lambda batch: batch.clone()),
    ):
        found, expected = (getattr(rx, name)(each, x, background, batch_size=4, **options) for each in (f, same))
        assert torch.equal(found.values, expected.values) and torch.equal(found.output, expected.output)


def test_the_default_device_is_of_no_matter():
    model, background = network(6), rows(2, 6, 2)
    calls = {
        "shapley": [{"estimator": "exact"}, {"estimator": "permutation"}, {"estimator": "leverage"}],
        "kernel_shap": [{}],
        "lime": [{}],
        "feature_ablation": [{}],
        "occlusion": [{"window": 2}],
    }
    for method, listed in calls.items():
        for options in listed:
            expected = getattr(rx, method)(model, X, background, **options).values
            with torch.device("meta"):
                assert torch.equal(getattr(rx, method)(model, X, background, **options).values, expected)
