"""The comparison functions themselves, with the cases in which they must fail."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.support import assert_close, assert_same_bits, assert_untouched, fingerprint, relative_error

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.001, 2.0], [0.0, 2.0], 0.0005),
        ([0.0, 0.0], [0.0, -0.0], 0.0),
        ([0.0, 1e-30], [0.0, 0.0], INF),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 1.5], [NAN, 1.0], 0.5),
        ([0.0, 1.0], [NAN, 1.0], INF),
        ([NAN, 1.0], [0.0, 1.0], INF),
        ([INF, 1.0], [INF, 1.0], 0.0),
        ([-INF, 1.0], [INF, 1.0], INF),
        ([INF, 1.0], [1.0, 1.0], INF),
        ([NAN], [INF], INF),
        ([NAN], [NAN], 0.0),
        ([], [], 0.0),
    ],
)
def test_relative_error(actual, expected, error):
    assert relative_error(torch.tensor(actual), torch.tensor(expected)) == pytest.approx(error, rel=1e-6)


def test_relative_error_refuses_broadcasting():
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error(torch.zeros(2, 1), torch.zeros(2))


def test_assert_close_passes_at_its_tolerance():
    assert_close(torch.tensor([1.0, 2.125]), torch.tensor([1.0, 2.0]), 0.0625)


def test_assert_close_names_the_first_bad_elements_with_both_values():
    expected = torch.arange(6.0).reshape(2, 3)
    actual = expected.clone()
    actual[0, 2], actual[1, 1] = 7.0, NAN
    with pytest.raises(AssertionError) as failure:
        assert_close(actual, expected, 1e-6, "gradient")
    text = str(failure.value)
    assert "gradient" in text and "2 of 6 elements" in text
    assert "(0, 2): got 7, expected 2" in text and "(1, 1): got nan, expected 4" in text


@pytest.mark.parametrize("actual", [torch.zeros(3), torch.zeros(2, 1), [0.0, 0.0], (torch.zeros(2),)])
def test_assert_close_refuses_another_shape_or_type(actual):
    with pytest.raises(AssertionError):
        assert_close(actual, torch.zeros(2), 1.0)


def test_assert_close_fails_on_a_hidden_nan_and_on_one_wrong_element_among_many():
    expected = torch.ones(10_000)
    for value in (NAN, 1.001, -1.0):
        actual = expected.clone()
        actual[-1] = value
        with pytest.raises(AssertionError):
            assert_close(actual, expected, 1e-4)


def test_assert_same_bits():
    x = torch.tensor([1.0, NAN, 0.0])
    assert_same_bits(x, x.clone())
    for other in (torch.tensor([1.0, NAN, -0.0]), torch.tensor([1.0, 2.0, 0.0]), x.double(), x[:2]):
        with pytest.raises(AssertionError):
            assert_same_bits(other, x)
    with pytest.raises(AssertionError, match="1 elements differ in bits; first flat 0"):
        assert_same_bits(torch.tensor([1.0 + 1e-7, NAN, 0.0]), x)


def _shift_weight(model):
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6


def _write_and_undo(model):
    with torch.no_grad():
        model[0].weight.mul_(2).div_(2)


def _replace_parameter(model):
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())


def _fill_grad(model):
    model(torch.ones(2, 3)).sum().backward()


@pytest.mark.parametrize(
    "touch",
    [
        _shift_weight,
        _write_and_undo,
        _replace_parameter,
        _fill_grad,
        lambda m: m[1].train(),
        lambda m: m[1].register_forward_hook(lambda *a: None),
        lambda m: m[0].requires_grad_(False),
        lambda m: setattr(m[0], "relevance", 1),
        lambda m: m[1].running_mean.add_(1e-3),
    ],
    ids=["weight", "undone", "replaced", "grad", "train", "hook", "requires_grad", "attribute", "buffer"],
)
def test_fingerprint_sees(touch):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    before = fingerprint(model)
    assert_untouched(before, model)
    touch(model)
    with pytest.raises(AssertionError):
        assert_untouched(before, model)
