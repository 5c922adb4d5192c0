"""What is wrong with an input is said: argument, rule, value, remedy; numbers that are no numbers are counted."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

import reluxfast as rx
from tests.support import assert_same_bits
from tests.zoo import CONSTRUCTS

ROWS = 3


def _model():
    return CONSTRUCTS["relu_module"].model()


def _x():
    return torch.randn(ROWS, 3, 8, 8, generator=torch.Generator(torch.get_default_device()).manual_seed(1))


def _refused(says: str, x, argument: str = "x", **options) -> None:
    explainer = rx.Explainer(_model(), _x())
    with pytest.raises(rx.InvalidInput, match=says) as raised:
        explainer.attribute(x, target=1, **options)
    assert raised.value.argument == argument and raised.value.rule


def test_wrong_shape():
    _refused(r"\(3, 8, 8\)", _x()[..., :7])
    _refused(r"\(3, 8, 8\)", _x()[0])


def test_wrong_shape_in_one_call_names_the_node():
    """`rx.attribute` captures for the new shape, and the model itself does not take it."""
    with pytest.raises((rx.InvalidInput, rx.UnsupportedNode), match=r"shape|size"):
        rx.gradient(_model(), torch.randn(2, 3, 12, 12), target=1)


def test_wrong_dtype():
    _refused("float32", _x().double())


def test_dtypes_and_layouts_that_nothing_computes_in():
    _refused(r"\.float\(\)", _x().to(torch.float8_e4m3fn))
    _refused(r"\.to_dense\(\)", _x().to_sparse())


@pytest.mark.parametrize("method", [["gradient"], None, 3])
def test_a_method_that_is_no_name(method):
    with pytest.raises(rx.InvalidInput, match="must be one of gradient"):
        rx.attribute(_model(), _x(), 1, method=method)


def test_wrong_device():
    _refused("cpu", _x().to("meta"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_images(dtype):
    x = (_x() > 0).to(dtype)
    _refused(r"\.float\(\)", x)
    with pytest.raises(rx.InvalidInput, match=r"\.float\(\)"):
        rx.gradient(_model(), x, target=1)


@pytest.mark.parametrize("x", [None, np.zeros((2, 3, 8, 8), np.float32), [torch.zeros(2, 3, 8, 8)], 1.0, ()], ids=str)
def test_no_tensor(x):
    _refused("Tensor", x)


def test_scalar_tensor():
    _refused("batch", torch.tensor(1.0))


def test_wrong_number_of_inputs():
    _refused(r"1 tensor", (_x(), _x()))
    two = CONSTRUCTS["image_and_vector"].model()
    with pytest.raises(rx.InvalidInput, match="rows"):
        rx.gradient(two, (torch.randn(2, 3, 6, 6), torch.randn(3, 5)), target=0)


def test_unknown_method():
    _refused("guided_backprop", _x(), argument="method", method="saliency")


def test_unknown_option():
    _refused("none", _x(), argument="options", method="gradient", abs=True)
    _refused("n_steps", _x(), argument="options", method="integrated_gradients", steps=3)


def test_missing_option():
    _refused("layer", _x(), argument="options", method="grad_cam")


@pytest.mark.parametrize("model", [lambda x: x, None, "resnet18"], ids=["function", "None", "str"])
def test_no_module(model):
    with pytest.raises(rx.InvalidInput, match="Module"):
        rx.gradient(model, _x(), target=1)
    with pytest.raises(rx.InvalidInput, match="Module"):
        rx.Explainer(model, _x())


def test_wrong_explainer_arguments():
    for options in ({"precision": "tf32"}, {"memory_budget": 0}, {"memory_budget": 1.5}):
        with pytest.raises(rx.InvalidInput, match=next(iter(options))):
            rx.Explainer(_model(), _x(), **options)


def test_unknown_or_missing_backend():
    with pytest.raises(rx.ReluxfastError, match="reference"):
        rx.Explainer(_model(), _x(), backend="tpu")
    with pytest.raises(rx.BackendUnavailable) as raised:
        rx.Explainer(_model(), _x(), backend="cuda" if not torch.cuda.is_available() else "triton")
    assert raised.value.reason and raised.value.remedy


@pytest.mark.parametrize("method", rx.methods("relevance"))
@pytest.mark.parametrize("target", [1, "all", [], torch.zeros(0, dtype=torch.int64)], ids=str)
def test_empty_batch(method, target):
    options = {"layer": "conv2"} if method.endswith("grad_cam") else {}
    result = rx.attribute(_model(), _x()[:0], target=target, method=method, **options)
    classes = (4,) if isinstance(target, str) else ()
    inner = (1, 8, 8) if method == "grad_cam" else (3, 8, 8)
    assert result.values.shape == (0, *classes, *inner)
    assert result.output.shape == (0, 4) and result.values.dtype == torch.float32


def test_empty_batch_of_several_inputs():
    x = (torch.zeros(0, 3, 6, 6), torch.zeros(0, 5))
    values = rx.gradient(CONSTRUCTS["image_and_vector"].model(), x, target=1).values
    assert [v.shape for v in values] == [(0, 3, 6, 6), (0, 5)]


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "deconvnet", "input_x_gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_pixels(method, value):
    """A warning with the count; rows whose output is not finite are NaN throughout; the others keep their bits."""
    x = _x()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = rx.attribute(_model(), x, target=1, method=method)
    x[1, 0, 2, 3], x[1, 2, 0, 0] = value, value
    with pytest.warns(UserWarning, match=r"\b2\b"):
        result = rx.attribute(_model(), x, target=1, method=method)
    with torch.no_grad():
        finite = _model()(x)[:, 1].isfinite()
    assert not finite[1], "the construct must let NaN and infinities through"
    assert result.values[1].isnan().all()
    for row in (0, 2):
        assert_same_bits(result.values[row], clean.values[row], f"row {row}")


def test_not_finite_pixel_that_reaches_no_output():
    """The last row of pixels is not read: its gradient is 0, the warning stands, nothing else is lost."""
    model = CONSTRUCTS["conv2d_uncovered_edge"].model()
    x = torch.randn(2, 3, 8, 8)
    clean = rx.gradient(model, x, target=1).values
    x[0, 0, 7, 7] = math.nan
    with pytest.warns(UserWarning, match=r"\b1\b"):
        values = rx.gradient(model, x, target=1).values
    assert_same_bits(values, clean)


def test_not_finite_weights_are_reported_too():
    model, x = _model(), _x()
    with torch.no_grad():
        model.fc2.weight[1, 0] = math.nan
    with pytest.warns(UserWarning, match="3"):
        assert rx.gradient(model, x, target=1).values.isnan().all()
    assert rx.gradient(model, x, target=0).values.isfinite().all()
