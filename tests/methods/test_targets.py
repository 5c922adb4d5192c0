"""The five forms of a target, "all", and an error for each wrong form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from tests.oracles import gradient
from tests.support import assert_close, assert_same_bits
from tests.zoo import CONSTRUCTS


def _explain(name: str, target, rows: int = 3, method: str = "guided_backprop"):
    construct = CONSTRUCTS[name]
    x = tuple(torch.randn(rows, *s).double() for s in construct.shapes)
    model = construct.model(torch.float64)
    return rx.attribute(model, x[0], target=target, method=method), construct, x


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("relu_module", 2),
        ("relu_module", -1),
        ("relu_module", torch.tensor([3, 0, 1])),
        ("relu_module", torch.tensor([3, 0, 1], dtype=torch.int32)),
        ("relu_module", [3, 0, -2]),
        ("matrix_output", (4, 2)),
        ("matrix_output", (-1, 0)),
        ("matrix_output", [(0, 1), (4, 3), (2, 2)]),
        ("segmentation_output", (2, 0, 5)),
        ("segmentation_output", [(0, 1, 1), (1, 5, 5), (2, 0, 3)]),
        ("scalar_output", None),
    ],
    ids=str,
)
def test_forms(name, target):
    result, construct, x = _explain(name, target)
    model = construct.oracle(gradient.rule_kit("guided_backprop"))
    assert_close(result.values, gradient.reverse(model, x, target)[0], 1e-12)
    assert result.target is target


def test_one_element_tensor_and_numpy_integers_stand_for_all_rows():
    expected, _, _ = _explain("relu_module", 2)
    for target in (
        torch.tensor(2),
        torch.tensor([2]),
        np.int64(2),
        np.array(2),
        np.array([2] * 3),
        [np.int64(2)] * 3,
        (2,),
    ):
        torch.manual_seed(0)
        result, _, _ = _explain("relu_module", target)
        torch.manual_seed(0)
        expected, _, _ = _explain("relu_module", 2)
        assert_same_bits(result.values, expected.values, repr(target))


def test_none_with_one_column_and_with_one_row():
    model = torch.nn.Linear(4, 1).double()
    x = torch.randn(3, 4).double()
    assert_close(rx.gradient(model, x).values, model.weight.detach().expand(3, 4), 1e-15)
    # One row and one entry: a list and a Tensor of length 1.
    wide = torch.nn.Linear(4, 3).double()
    for target in ([2], torch.tensor([2]), 2, (2,), [(2,)]):
        assert_close(rx.gradient(wide, x[:1], target=target).values, wide.weight[2:].detach(), 1e-15)


WRONG = {
    "None with several outputs": ("relu_module", None, "target"),
    "int on a 3-d output": ("matrix_output", 1, "tuple"),
    "list of ints on a 3-d output": ("matrix_output", [0, 1, 2], "tuple"),
    "Tensor on a 3-d output": ("matrix_output", torch.tensor([0, 1, 2]), "tuple"),
    "tuple too short": ("matrix_output", (1,), "2 ints"),
    "tuple too long": ("matrix_output", (1, 1, 1), "2 ints"),
    "tuple of floats": ("matrix_output", (1, 1.0), "ints"),
    "list too short": ("relu_module", [0, 1], "per row"),
    "list too long": ("relu_module", [0, 1, 2, 3], "per row"),
    "list of mixed": ("matrix_output", [(0, 0), 1, (2, 2)], "ints or tuples"),
    "list of floats": ("relu_module", [0.0, 1.0, 2.0], "ints"),
    "Tensor of wrong length": ("relu_module", torch.tensor([0, 1]), "shape"),
    "Tensor of two dimensions": ("relu_module", torch.zeros(3, 1, dtype=torch.int64), "shape"),
    "Tensor of floats": ("relu_module", torch.zeros(3), "integers"),
    "Tensor of booleans": ("relu_module", torch.zeros(3, dtype=torch.bool), "integers"),
    "float": ("relu_module", 1.0, "target"),
    "bool": ("relu_module", True, "target"),
    "other string": ("relu_module", "argmax", "'all'"),
    "numpy floats": ("relu_module", np.array([0.0, 1, 2]), "target"),
    "numpy words": ("relu_module", np.array(["a"]), "target"),
    "int too large": ("relu_module", 4, r"\[-4, 3\]"),
    "int too small": ("relu_module", -5, r"\[-4, 3\]"),
    "list out of range": ("relu_module", [0, 4, 1], r"\[-4, 3\]"),
    "Tensor out of range": ("relu_module", torch.tensor([0, 4, 1]), r"\[-4, 3\]"),
    "tuple out of range": ("matrix_output", (5, 0), r"\[-5, 4\]"),
    "int on outputs without classes": ("linear_scalar", 0, "target"),
    "all on a 3-d output": ("matrix_output", "all", "all"),
    "all on outputs without classes": ("linear_scalar", "all", "all"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_forms(wrong):
    name, target, says = WRONG[wrong]
    name = {"linear_scalar": "scalar_output"}.get(name, name)
    with pytest.raises(rx.InvalidInput, match=says) as raised:
        _explain(name, target)
    assert isinstance(raised.value, ValueError) and raised.value.argument == "target"
    assert raised.value.rule and "target" in str(raised.value)


@pytest.mark.parametrize("method", rx.methods("relevance"))
def test_every_method_refuses_a_missing_target(method):
    options = {"layer": "conv1"} if method.endswith("grad_cam") else {}
    with pytest.raises(rx.InvalidInput, match="target"):
        rx.attribute(CONSTRUCTS["relu_module"].model(), torch.randn(2, 3, 8, 8), method=method, **options)
