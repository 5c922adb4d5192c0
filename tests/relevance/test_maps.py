"""Every form in which a convolution or linear map is called, against autograd in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reluxfast.relevance.few_channels import BlockedGradient
from reluxfast.relevance.maps import ConvMap, LinearMap

# float32 sums of at most a few hundred terms, relative to the largest of them.
TOLERANCE = 2e-6
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _error(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got.double() - want).abs().max() / want.abs().max().clamp_min(1e-12))


def _check(weight, bias, x, stride, padding, dilation, transposed, output_padding, groups, native):
    n = x.dim() - 2
    wide = x.double().requires_grad_()
    if transposed:
        y = TRANSPOSED[n](wide, weight.double(), bias.double(), stride, padding, output_padding, groups, dilation)
    else:
        y = PLAIN[n](wide, weight.double(), bias.double(), stride, padding, dilation, groups)
    if 0 in y.shape:
        return
    g = torch.randn(y.shape)
    (want,) = torch.autograd.grad(y, wide, g.double())
    mapped = ConvMap(weight, bias, stride, padding, dilation, transposed, output_padding, groups, native)
    assert _error(mapped.forward(x), y.detach()) < TOLERANCE
    for _ in range(2):  # the second call takes the packed weight of the first
        assert _error(mapped.backward(g, tuple(x.shape[2:])), want) < TOLERANCE


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_convolutions(n, transposed, native):
    torch.manual_seed(n)
    sizes = (11, 9, 7)[:n]
    for stride, padding, dilation, groups, kernel in itertools.product((1, 2, 3), (0, 2), (1, 2), (1, 2), (1, 3)):
        cin, cout = 2 * groups, 3 * groups
        shape = (cin, cout // groups) if transposed else (cout, cin // groups)
        weight = torch.randn(*shape, *[kernel] * n)
        rest = (1,) * n if transposed and stride > 1 else (0,) * n
        options = ((stride,) * n, (padding,) * n, (dilation,) * n, transposed, rest, groups)
        _check(weight, torch.randn(cout), torch.randn(2, cin, *sizes), *options, native)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_points_are_a_matrix_product(rows):
    # A prepacked convolution would lay the weights out anew at every call, unless its batch is as it was packed for.
    torch.manual_seed(rows)
    weight, bias, x = torch.randn(5, 33, 1, 1), torch.randn(5), torch.randn(rows, 33, 7, 6)[..., ::2, :]
    _check(weight, bias, x, (1, 1), (0, 0), (1, 1), False, (0, 0), 1, True)
    mapped = ConvMap(weight, bias, (1, 1), (0, 0), (1, 1), False, (0, 0), 1)
    called = Called()
    with called:
        y = mapped.forward(x)
        back = mapped.backward(y, (4, 6))
    assert y.is_contiguous(memory_format=torch.channels_last) and back.is_contiguous(memory_format=torch.channels_last)
    assert not any("convolution" in name for name in called.names)
    for stride, padding, size in ((2, 0, (2, 3)), (1, 1, (6, 8))):  # these are no plain products
        with called:
            assert (
                ConvMap(weight, bias, [stride] * 2, [padding] * 2, (1, 1), False, (0, 0), 1).forward(x).shape[2:]
                == size
            )
    assert any("convolution" in name for name in called.names)


class Called(TorchDispatchMode):
    """Names of the operators that were called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_uneven_axes():
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, 10, 13), torch.randn(7, 5, 3, 5)
    _check(weight, torch.randn(7), x, (2, 1), (1, 2), (1, 1), False, (0, 0), 1, True)
    _check(weight, torch.randn(7), x, (1, 3), (0, 4), (2, 1), False, (0, 0), 1, True)


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    size=st.tuples(st.integers(7, 19), st.integers(7, 19)),
    channels=st.integers(1, 4),
)
def test_blocked_gradient(kernel, stride, padding, size, channels):
    weight = torch.randn(5, channels, *kernel)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    y = F.conv2d(x, weight.double(), None, stride, padding)
    if 0 in y.shape:
        return
    g = torch.randn(y.shape).contiguous(memory_format=torch.channels_last)
    (want,) = torch.autograd.grad(y, x, g.double())
    got = BlockedGradient(weight, list(stride), list(padding))(g, size)
    # Pixels that no window covers have a gradient of exactly 0.
    assert bool((got[want == 0] == 0).all())
    assert _error(got, want) < TOLERANCE


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("wide", "narrow"), [(7, 5), (300, 260)])  # below and above the size that is packed
@pytest.mark.parametrize("lead", [(4,), (2, 3)])
def test_linear(lead, wide, narrow, native):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(narrow, wide), torch.randn(narrow), torch.randn(*lead, wide)
    mapped = LinearMap(weight, bias, native)
    assert _error(mapped.forward(x), x.double() @ weight.double().t() + bias.double()) < TOLERANCE
    g = torch.randn(*lead, narrow)
    for _ in range(2):
        assert _error(mapped.backward(g), g.double() @ weight.double()) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_rows(dtype):
    conv = ConvMap(torch.randn(4, 3, 3, 3, dtype=dtype), None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1)
    y = conv.forward(torch.empty(0, 3, 8, 8, dtype=dtype))
    assert y.shape == (0, 4, 8, 8)
    assert conv.backward(y, (8, 8)).shape == (0, 3, 8, 8)
    linear = LinearMap(torch.randn(300, 300, dtype=dtype), None)
    assert linear.backward(linear.forward(torch.empty(0, 300, dtype=dtype))).shape == (0, 300)
