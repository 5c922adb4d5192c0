"""IntegratedGradients and LayerIntegratedGradients beside Captum's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reluxfast.compat import captum as ours
from reluxfast.compat.captum.integrated_gradients import METHODS
from tests.compat.captum.models import MODELS, built, case, rows, shared
from tests.compat.captum.parity import agree, both, same_error
from tests.support import assert_close


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_network(name, dtype):
    model, x = case(name, dtype=dtype)
    # Captum rounds its weights to float32.
    tolerance = 1e-5 if dtype == torch.float32 else 1e-6
    agree(*both(ours.IntegratedGradients, model, x, target=1, n_steps=9), tolerance=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_methods_and_deltas(method):
    model, (x,) = case("cnn")
    options = {"method": method, "n_steps": 7, "return_convergence_delta": True, "baselines": 0.3, "target": [2, 0, 1]}
    (values, delta), (expected, their_delta) = both(ours.IntegratedGradients, model, x, **options)
    agree(values, expected)
    assert (delta - their_delta).abs().max() <= 1e-5 * model(x).abs().max()


@pytest.mark.parametrize("size", [None, 1, 4, 12, 1000])
def test_internal_batch_size_changes_nothing(size):
    model, (x,) = case("cnn")
    agree(*both(ours.IntegratedGradients, model, x, target=1, n_steps=8, internal_batch_size=size))


def test_forms_of_baselines():
    model, (image, vector) = case("two_inputs")
    for baselines in (None, (0.5, 1), (image.flip(0), vector[:1]), (image[:1], 0), (torch.zeros(1, 2, 6, 5), -vector)):
        agree(*both(ours.IntegratedGradients, model, (image, vector), baselines, 1, n_steps=5))
    extra = (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2, 3]))
    agree(*both(ours.IntegratedGradients, model, (image, vector), None, [0, 1, 2], extra, n_steps=5))


def test_without_multiplying():
    model, (x,) = case("mlp")
    agree(*both(ours.IntegratedGradients, model, x, target=1, construct=(False,)))
    assert not ours.IntegratedGradients(model, False).multiplies_by_inputs


def test_functions_by_autograd():
    model, x = case("two_inputs")

    def probability(image, vector, factor):
        return F.softmax(model(image, vector, factor), 1)

    options = {"additional_forward_args": torch.tensor([1.0, 2.0, 3.0]), "return_convergence_delta": True}
    found = both(ours.IntegratedGradients, probability, x, target=[0, 1, 2], **options)
    agree(found[0][0], found[1][0])
    assert (found[0][1] - found[1][1]).abs().max() <= 1e-6


LAYERS = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "linear1", "relu3", "linear2"]


class OutOfPlace(nn.Module):
    """Captum integrates at no layer before a ReLU that works in place."""

    def __new__(cls):
        model = MODELS["cnn"][0]()
        model.relu1 = nn.ReLU()
        return model


@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("layer", [*LAYERS, "bn1"])
def test_every_layer(layer, of_input):
    model, (x,) = shared(OutOfPlace), rows(((3, 11, 9),))
    options = {"n_steps": 6, "attribute_to_layer_input": of_input, "return_convergence_delta": True}
    (values, delta), (expected, their_delta) = both(
        ours.LayerIntegratedGradients, model, x, 0.2, [1, 0, 3], construct=(getattr(model, layer),), **options
    )
    agree(values, expected)
    assert (delta - their_delta).abs().max() <= 1e-5 * model(x).abs().max()


def test_a_layer_before_an_in_place_relu_too():
    in_place, model, (x,) = shared(MODELS["cnn"][0]), shared(OutOfPlace), rows(((3, 11, 9),))
    values = [ours.LayerIntegratedGradients(m, m.bn1).attribute(x, target=1) for m in (in_place, model)]
    assert_close(values[0], values[1], 1e-6)


def test_layers_beside_other_ways():
    model, x = case("two_inputs")
    extra = (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2, 3]))
    for layer in (model.relu1, model.linear1):
        found = both(ours.LayerIntegratedGradients, model, x, None, 1, extra, n_steps=5, construct=(layer,))
        agree(*found)


class Branches(nn.Module):
    """Two branches that meet in a residual addition."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu1, self.relu2 = nn.Linear(7, 6), nn.Linear(7, 6), nn.ReLU(), nn.ReLU()
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.relu1(self.a(x)) + self.relu2(self.b(x)))


def test_lists_of_layers():
    model, (x,) = shared(Branches), rows(((7,),))
    found = both(ours.LayerIntegratedGradients, model, x, target=1, construct=([model.a, model.relu2],), n_steps=6)
    agree(*found)
    agree(*both(ours.LayerIntegratedGradients, model, x, target=1, construct=(model.a, None, False), n_steps=6))


def test_what_is_refused():
    model, (x,) = case("mlp")
    wrong = [{"baselines": b} for b in (x[:2], (x, x), "0")]
    for options in ({"method": "simpson"}, {"n_steps": -1}, *wrong):
        same_error(ours.IntegratedGradients, model, x, target=1, **options)
    same_error(ours.IntegratedGradients, model, x, target=1, n_steps=1, method="riemann_left")
    same_error(ours.IntegratedGradients, model, x, target=7)
    same_error(ours.IntegratedGradients, model, x)
    with pytest.raises(AssertionError, match="rows"):
        ours.IntegratedGradients(model).compute_convergence_delta(x[:2], 0, x, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_answered_in_float32(dtype):
    model, (x,) = built(MODELS["mlp"][0]).to(dtype), tuple(v.to(dtype) for v in rows(((7,),)))
    exact = model.float()
    expected = ours.IntegratedGradients(exact).attribute(x.float(), target=1, n_steps=6)
    inner = ours.LayerIntegratedGradients(exact, exact.relu1).attribute(x.float(), target=1, n_steps=6)
    model = built(MODELS["mlp"][0]).to(dtype)
    theirs = both(ours.IntegratedGradients, model, x, target=1, n_steps=6)[1]
    for forward in (model, lambda z: model(z)):
        found = ours.IntegratedGradients(forward).attribute(x, target=1, n_steps=6)
        assert found.dtype == theirs.dtype == torch.float32
        assert_close(found, expected, 2e-2)
    found = ours.LayerIntegratedGradients(model, model.relu1).attribute(x, target=1, n_steps=6)
    assert found.dtype == torch.float32
    assert_close(found, inner, 2e-2)


def test_baselines_that_broadcast():
    model, (x,) = case("cnn")
    for baselines in (torch.rand(1, 3, 1, 1), torch.rand(1, 1, 11, 9)):
        agree(*both(ours.IntegratedGradients, model, x, baselines, 1, n_steps=4))


class Text(nn.Module):
    """Tokens and an offset of each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear1, self.relu, self.linear2 = (
            nn.Embedding(9, 4),
            nn.Linear(20, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        )

    def forward(self, tokens, shift=None):
        x = self.embedding(tokens if shift is None else (tokens + shift) % 9)
        return self.linear2(self.relu(self.linear1(x.flatten(1))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tokens_in_front_of_an_embedding(dtype):
    model, tokens = shared(Text, dtype), torch.tensor([[1, 2, 3, 4, 5], [0, 8, 8, 1, 1], [7, 6, 5, 4, 3]])
    layer = {"construct": (model.embedding,)}
    zeros, shift = torch.zeros_like(tokens), torch.tensor([[1], [2], [3]])
    tolerance = None if dtype == torch.float32 else 1e-6  # Captum's weights are float32
    options = {"n_steps": 6, "return_convergence_delta": True}
    found, expected = both(ours.LayerIntegratedGradients, model, tokens, zeros, [0, 1, 2], shift, **options, **layer)
    agree(found[0], expected[0], tolerance=tolerance)
    assert (found[1] - expected[1]).abs().max() <= 1e-5
    for kind, target in ((ours.LayerGradientXActivation, {"target": 1}), (ours.LayerActivation, {})):
        agree(*both(kind, model, tokens, additional_forward_args=(shift,), **target, **layer))
        for name in ("linear1", "relu"):
            agree(
                *both(kind, model, tokens, **target, construct=(getattr(model, name),), attribute_to_layer_input=True)
            )
    with pytest.raises(RuntimeError, match="floating-point"):
        ours.IntegratedGradients(model).attribute(tokens, target=1)
