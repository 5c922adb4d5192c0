"""Ways to evaluate chains: with the same draws each gives what writing the coalitions out gives."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import ops
from reluxfast.coalitions import cube
from reluxfast.float32 import ieee_float32
from tests.coalitions.support import close, network, normal, on_device, path_of_perceptron, rows


class Standardised(nn.Module):
    """An MLP behind the usual standardisation of its input."""

    def __init__(self, d, outputs=3):
        super().__init__()
        self.register_buffer("mean", torch.randn(d))
        self.register_buffer("scale", torch.rand(d) + 0.5)
        self.first, self.norm = nn.Linear(d, 20), nn.BatchNorm1d(20)
        self.second, self.last = nn.Linear(20, 11), nn.Linear(11, outputs)

    def forward(self, x):
        h = torch.relu(self.norm(self.first((x - self.mean) / self.scale)))
        return self.last(torch.relu(self.second(h)))


class Residual(nn.Module):
    """Begins with a linear map that two branches read; ends in probabilities."""

    def __init__(self, d, outputs=3):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(d, 24), nn.Linear(24, 24), nn.Linear(24, outputs)

    def forward(self, x):
        h = self.first(x)
        return torch.softmax(self.last(h + torch.tanh(self.second(torch.relu(h)))), 1)


def deep(d, hidden, outputs=3):
    sizes = [d, *hidden]
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def image_mlp(d):
    return nn.Sequential(nn.Flatten(), deep(d, [30]))


def image_residual(d):
    return nn.Sequential(nn.Conv2d(2, 1, 3, padding=1), nn.Flatten(), Residual(d // 2))


def normalised(d):
    """What is folded into the first map belongs to it."""
    return nn.Sequential(nn.Conv2d(2, 1, 3, padding=1), nn.BatchNorm2d(1), nn.Tanh(), nn.Flatten(), deep(d // 2, [9]))


class Normed(nn.Module):
    """Ends in the batch norm of its first map."""

    def __init__(self, d):
        super().__init__()
        self.map, self.norm = nn.Linear(d, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        return self.norm(self.map(x))


# Model, shape of a row, path.
MODELS = {
    "one layer": (lambda: deep(7, []), (7,), "mlp"),
    "two layers": (lambda: deep(7, [33]), (7,), "mlp"),
    "six layers": (lambda: deep(9, [16, 8, 24, 5, 17]), (9,), "mlp"),
    "one output": (lambda: deep(7, [33, 16], 1), (7,), "mlp"),
    "standardised": (lambda: Standardised(12), (12,), "mlp"),
    "image": (lambda: image_mlp(2 * 6 * 5), (2, 6, 5), "mlp"),
    "seven layers": (lambda: deep(70, [9] * 6), (70,), "prefix"),
    "residual": (lambda: Residual(80), (80,), "prefix"),
    "convolution first": (lambda: image_residual(2 * 6 * 7), (2, 6, 7), "prefix"),
    "convolution and batch norm first": (lambda: normalised(2 * 6 * 7), (2, 6, 7), "prefix"),
    "a map and its batch norm": (lambda: Normed(70), (70,), "mlp"),
    "small residual": (lambda: Residual(12), (12,), "engine"),
    "relu first": (lambda: nn.Sequential(nn.ReLU(), deep(70, [9])), (70,), "engine"),
}


SINGLE_LAYERS = ("one layer", "a map and its batch norm")


def made(name, dtype):
    build, shape, path = MODELS[name]
    if path == "mlp":
        path = path_of_perceptron(dtype, 1 if name in SINGLE_LAYERS else 2, math.prod(shape))

    def trained():
        model = build()
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        return model.to(dtype)

    x, background = normal(5, *shape, seed=1).to(dtype).split((3, 2))
    return on_device(trained, seed=3), x, background, path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_equals_written_coalitions(name, dtype):
    model, x, background, path = made(name, dtype)
    near = 1e-11 if dtype == torch.float64 else 2e-5
    n = x[0].numel()
    for options in (
        {"n_evaluations": 7 * 2 * (n - 1) + 1},
        {"n_evaluations": 5 * (n - 1) + 1, "design": "plain", "target": 0},
        {"n_evaluations": 4 * 2 * (n - 1) + 1, "background_mode": "all"},
        {"n_evaluations": 300, "players": torch.arange(x.shape[-1]) % 4},
    ):
        found = rx.shapley(model, x, background, estimator="permutation", seed=6, **options)
        with ieee_float32():
            written = rx.shapley(lambda batch: model(batch), x, background, estimator="permutation", seed=6, **options)
        assert (found.options["path"], written.options["path"]) == (path, "function")
        # Differences of outputs carry the rounding of outputs.
        scale = float(written.output.abs().max())
        assert float((found.values - written.values).abs().max()) <= near * scale
        assert float((found.standard_error - written.standard_error).abs().max()) <= near * scale
        total = found.values.sum(tuple(range(found.base_value.dim(), found.values.dim())))
        output = found.output[:, 0] if "target" in options else found.output.view(found.base_value.shape)
        assert float((total - output + found.base_value).abs().max()) <= near * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_all_coalitions_equal_written_ones(name, dtype, monkeypatch):
    model, x, background, path = made(name, dtype)
    near = 1e-11 if dtype == torch.float64 else 2e-5
    players = torch.arange(x.shape[-1]) % 8 if x[0].numel() > 9 else None
    with ieee_float32():
        written = rx.shapley(lambda batch: model(batch), x, background, estimator="exact", players=players)
    # A stretch holds several rows, one, or a part of one, with and without players whose subsets are not at hand.
    for most, low in ((1 << 16, 7), (1 << 10, 3), (32, 7), (16, 3), (1, 7)):
        monkeypatch.setattr(cube, "_SUMMED", most)
        monkeypatch.setattr(cube, "_LOW_PLAYERS", low)
        for target in (None, 0):
            found = rx.shapley(model, x, background, target=target, estimator="exact", players=players)
            assert (found.options["path"], written.options["path"]) == (path, "function")
            several = target == 0 and written.output.shape[1] > 1
            expected = written.values[:, 0] if several else written.values
            assert float((found.values - expected).abs().max()) <= near * float(written.output.abs().max())


@pytest.mark.parametrize("name", ["image", "convolution first"])
def test_layouts(name):
    model, x, background, path = made(name, torch.float64)
    rows_of_pixels = torch.arange(6).unsqueeze(-1)
    for options in (
        {"estimator": "permutation", "n_evaluations": 800},
        {"estimator": "exact", "players": rows_of_pixels},
    ):
        expected = rx.shapley(model, x, background, **options).values
        for given in (x.to(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
            found = rx.shapley(model, given, background, **options)
            assert found.options["path"] == path
            close(found.values, expected, 1e-11)


@pytest.mark.parametrize("estimator", ["permutation", "exact"])
@pytest.mark.parametrize("name", ["standardised", "residual"])
def test_same_bits_for_every_batch(name, estimator):
    model, x, background, path = made(name, torch.float32)
    n = x[0].numel()
    options = {"estimator": estimator, "players": torch.arange(n) % 9}
    whole = rx.shapley(model, x, background, **options)
    before = torch.get_num_threads()
    try:
        # Behind its first map a network is computed by library calls, whose bits depend on the number of threads.
        for threads in (1, 3) if path == "mlp" else (before,):
            torch.set_num_threads(threads)
            for count in (1, 2, 3):
                part = rx.shapley(model, x[:count], background, **options)
                assert part.options["path"] == path and torch.equal(part.values, whole.values[:count])
                assert whole.standard_error is None or torch.equal(part.standard_error, whole.standard_error[:count])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["standardised", "residual"])
def test_players_without_influence(name):
    model, x, background, path = made(name, torch.float32)
    with torch.no_grad():
        model.first.weight[:, 5] = 0
    x[1, 3] = background[0, 3]
    found = rx.shapley(model, x, background[:1], estimator="permutation")
    assert found.options["path"] == path
    for values in (found.values, found.standard_error):
        assert bool((values[:, :, 5] == 0).all()) and bool((values[1, :, 3] == 0).all())
        assert bool((values[0, :, 3] != 0).all())


@pytest.mark.parametrize("name", ["standardised", "residual"])
def test_weights_that_change(name):
    model, x, background, _ = made(name, torch.float32)
    explainer = rx.Explainer(model, x)
    before = explainer.attribute(x, None, "shapley", baselines=background, estimator="permutation").values
    with torch.no_grad():
        model.first.weight.mul_(1.5)
    after = explainer.attribute(x, None, "shapley", baselines=background, estimator="permutation").values
    assert not torch.allclose(before, after)
    fresh = rx.shapley(lambda batch: model(batch), x, background, estimator="permutation").values
    close(after, fresh, 2e-5)


@pytest.mark.parametrize("name", ["standardised", "residual"])
def test_overflow_inside_the_network(name):
    model, x, background, _ = made(name, torch.float32)
    with torch.no_grad():
        model.first.weight[:, :2] = torch.tensor([3e38, -3e38])
        model.last.weight.mul_(100)
        x[:, :2], background[:, :2] = 1.0, 0.0
    for estimator in ("permutation", "exact"):
        with pytest.raises(rx.ReluxfastError, match="f must return finite numbers"):
            rx.shapley(model, x, background, estimator=estimator, players=torch.arange(x.shape[1]).clamp(max=9))


def test_half_types_go_through_the_model():
    model, x = on_device(deep, 7, [33]).half(), rows(2, 7).half()
    found = rx.shapley(model, x, estimator="permutation")
    assert found.options["path"] == "engine" and found.values.dtype == torch.float16


@pytest.mark.parametrize("f", [network(6), lambda batch: network(6)(batch)], ids=["mlp", "function"])
def test_tf32_is_an_option_of_chains(monkeypatch, f):
    """Perceptrons' chains are told of it; a CPU has none, and nothing changes there."""
    given, real = [], ops.mlp_chains

    def watched(*arguments):
        if arguments[3].shape[1]:
            given.append(arguments[9])
        return real(*arguments)

    monkeypatch.setattr(ops, "mlp_chains", watched)
    found = []
    for options in ({}, {"allow_tf32": False}, {"allow_tf32": True}):
        result = rx.shapley(f, rows(3, 6), rows(2, 6), estimator="permutation", n_evaluations=41, **options)
        found.append((result.values, result.standard_error))
        assert result.options["allow_tf32"] is options.get("allow_tf32", False)
    assert all(torch.equal(one, first) for each in found for one, first in zip(each, found[0], strict=True))
    assert given == ([False, False, True] if isinstance(f, nn.Module) else [])
