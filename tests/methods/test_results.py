"""Attribution: its fields, and input x gradient."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import reluxfast as rx
from tests.oracles import gradient
from tests.relevance.cases import as_tuple, case
from tests.support import assert_close, assert_same_bits

METHODS = [
    "gradient",
    "input_x_gradient",
    "guided_backprop",
    "deconvnet",
    "lrp",
    "grad_cam",
    "guided_grad_cam",
    "integrated_gradients",
    "deep_lift",
    "smooth_grad",
    "expected_gradients",
]


def test_methods():
    assert rx.methods("relevance") == METHODS
    assert rx.methods() == METHODS + rx.methods("coalitions")
    with pytest.raises(rx.InvalidInput, match="kind must be None or one of relevance, coalitions, got 'all'"):
        rx.methods("all")
    for name in rx.methods():
        function = getattr(rx, name)
        assert callable(function) and function.__name__ == name and function.__doc__


@pytest.mark.parametrize("name", ["relu_module", "image_and_vector", "three_inputs", "two_conv_functional"])
def test_input_x_gradient(name):
    found = case(name, torch.float64)
    expected = gradient.input_x_gradient(found.construct, found.inputs)
    for v, e in zip(as_tuple(found.attribute("input_x_gradient").values), expected, strict=True):
        assert_close(v, e, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_fields(method):
    found = case("relu_module", torch.float64)
    options = {"layer": "conv2"} if method.endswith("grad_cam") else {}
    result = found.attribute(method, **options)
    assert isinstance(result, rx.Attribution) and dataclasses.is_dataclass(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.values = None
    assert {f.name for f in dataclasses.fields(result)} == {
        *("values", "output", "target", "method", "options", "base_value", "standard_error", "n_evaluations"),
        *("balance", "layers", "inputs", "samples"),
    }
    assert result.method == method and result.target == 1
    assert options.items() <= result.options.items()
    assert result.values.shape == ((2, 1, 8, 8) if method == "grad_cam" else (2, 3, 8, 8))
    assert result.output.shape == (2, 4) and result.output.dtype == torch.float64
    array = result.numpy()
    assert isinstance(array, np.ndarray) and array.shape == tuple(result.values.shape)
    assert result.n_evaluations >= 1
    function = getattr(rx, method)
    assert_same_bits(function(found.explainer, found.x, target=1, **options).values, result.values, "plain function")
    assert_same_bits(function(found.model, found.x, target=1, **options).values, result.values, "from the model")


def test_numpy_of_several_inputs():
    found = case("image_and_vector", torch.float64)
    arrays = found.attribute("gradient").numpy()
    assert isinstance(arrays, tuple) and [a.shape for a in arrays] == [(2, 3, 6, 6), (2, 5)]


def test_tuple_of_one():
    found = case("relu_module", torch.float64)
    result = found.explainer.attribute((found.x,), 1, "gradient")
    assert isinstance(result.values, tuple) and len(result.values) == 1
    assert_same_bits(result.values[0], found.attribute("gradient", rx_backend()).values)


def rx_backend() -> str:
    """The backend that "auto" chooses."""
    from reluxfast.ops.backend import active_backend

    return active_backend()
