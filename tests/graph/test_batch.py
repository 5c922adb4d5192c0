"""The batch at explain time is free: one row, many rows, another number than the example's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.oracles import gradient
from tests.oracles.rules import RULES
from tests.relevance.cases import as_tuple
from tests.support import assert_close, assert_same_bits
from tests.zoo import CONSTRUCTS, MODULES
from tests.zoo.registry import settle
from tests.zoo.spellings import ConvNet

NAMES = [
    "resnet18",
    "view_minus_one",
    "batch_size_as_number",
    "learned_position",
    "image_and_vector",
    "bn1d_after_conv",
]


@pytest.mark.parametrize("example", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_batch_of_the_example_does_not_matter(name, example):
    construct = CONSTRUCTS[name]
    draw = lambda n: tuple(torch.randn(n, *s).double() for s in construct.shapes)  # noqa: E731
    shape = lambda x: x if len(x) > 1 else x[0]  # noqa: E731
    explainer = rx.Explainer(construct.model(torch.float64), shape(draw(example)))
    for rows in (1, 2, 3, 17):
        x = draw(rows)
        values = explainer.attribute(shape(x), target=construct.target, method="guided_backprop").values
        for v, e in zip(as_tuple(values), gradient.attribute(construct, x, "guided_backprop"), strict=True):
            assert_close(v, e, 1e-12, f"{rows} rows")


@pytest.mark.parametrize("rule", RULES)
def test_rows_do_not_see_each_other(rule):
    """A row alone and in company differ by summation order only (float64)."""
    model = CONSTRUCTS["googlenet"].model(torch.float64)
    x = torch.randn(7, 3, 12, 12).double()
    together = rx.attribute(model, x, target=1, method=rule).values
    for n in range(7):
        assert_close(rx.attribute(model, x[n : n + 1], target=1, method=rule).values, together[n : n + 1], 1e-12)


def test_more_rows_than_a_word_of_bits():
    """Packed masks run through row borders that are no multiple of 32."""
    construct = CONSTRUCTS["mlp"]
    x = torch.randn(131, 10).double()
    values = rx.guided_backprop(construct.model(torch.float64), x, target=1).values
    assert_close(values, gradient.attribute(construct, (x,), "guided_backprop")[0], 1e-12)


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced", "expanded"])
def test_memory_layouts_of_the_input(layout):
    construct = CONSTRUCTS["vgg_bn"]
    base = torch.randn(2, 3, 12, 12)
    x = {
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "transposed": base.transpose(2, 3),
        "sliced": torch.randn(4, 6, 24, 12)[::2, 1:4, ::2],
        "expanded": torch.randn(1, 3, 12, 12).expand(2, 3, 12, 12),
    }[layout]
    result = rx.guided_backprop(construct.model(), x, target=1)
    assert result.values.shape == x.shape and result.values.dtype == x.dtype
    expected = rx.guided_backprop(construct.model(), x.contiguous(), target=1)
    assert_close(result.values, expected.values, 1e-6, layout)  # another kernel for another layout, float32


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format], ids=str)
def test_channels_last_models(memory_format):
    construct = CONSTRUCTS["resnet18"]
    model = construct.model(torch.float64).to(memory_format=memory_format)
    x = torch.randn(2, 3, 12, 12).double().to(memory_format=memory_format)
    for rule in RULES:
        values = rx.attribute(model, x, target=1, method=rule).values
        assert_close(values, gradient.attribute(construct, (x,), rule)[0], 1e-12, rule)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_computed_in_float32(dtype):
    """Values come back in the input's dtype: their rounding is the only error that may show."""
    model = settle(ConvNet(MODULES), 0).to(dtype).eval()
    x = torch.randn(2, 3, 8, 8).to(dtype)
    wide = settle(ConvNet(MODULES), 0).to(dtype).double().eval()
    leaf = x.double().requires_grad_()
    (expected,) = torch.autograd.grad(wide(leaf)[:, 1].sum(), leaf)
    values = rx.gradient(model, x, target=1).values
    assert values.dtype == dtype
    assert_close(values, expected, torch.finfo(dtype).eps)


def test_wrappers_are_looked_through():
    construct = CONSTRUCTS["two_conv_functional"]
    model, x = construct.model(), torch.randn(2, 3, 28, 28)
    expected = rx.guided_backprop(model, x, target=7).values
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    assert_same_bits(rx.guided_backprop(compiled, x, target=7).values, expected, "compiled and already run")
    assert_same_bits(rx.guided_backprop(nn.DataParallel(model), x, target=7).values, expected, "DataParallel")


def test_exported_program():
    construct = CONSTRUCTS["residual_block_inplace"]
    x = torch.randn(2, 3, 8, 8).double()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(construct.model(torch.float64), (x,), dynamic_shapes=({0: batch},))
    for rule in RULES:
        for rows in (1, 2, 4):
            y = torch.randn(rows, 3, 8, 8).double()
            values = rx.attribute(program, y, target=1, method=rule).values
            assert_close(values, gradient.attribute(construct, (y,), rule)[0], 1e-12, f"{rule}, {rows} rows")
